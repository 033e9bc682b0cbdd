import { expect, test } from "vitest";
import { HubClient } from "../../huggingface/hub.ts";
import { startDemoHub } from "../../sim/demo-hub.ts";

test("every repository that the demo's hub finds has files that can be added", async () => {
  const hub = await startDemoHub();
  try {
    const { signal } = new AbortController();
    const client = new HubClient({ url: hub.url, token: undefined, isDefault: false });
    const found = await client.search("aviary", signal);
    expect(found.length).toBeGreaterThan(3);
    for (const { id } of found) {
      const { quantisations } = await client.repository(id, signal);
      expect(quantisations, id).not.toEqual([]);
    }
  } finally {
    await hub.close();
  }
});
