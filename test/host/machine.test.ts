import { describe, expect, test } from "vitest";
import type { ShellSettings } from "../../host/shell.ts";
import { LocalHost } from "../support/local-host.ts";
import { machineSuite } from "../support/machine-suite.ts";

describe.each(["direct", "wrapper"] as const)("%s", (mode) => {
  machineSuite((text) => {
    const host = new LocalHost(text);
    const machine = host.machine.bind(host);
    return Object.assign(host, { machine: (change?: Partial<ShellSettings>) => machine(mode, change) });
  });
});

test("neither a stamp nor a mode is taken over that is none", async () => {
  const host = new LocalHost("models: {}\n");
  const nonce = "n=$(sed -n 's/^ai-server-1 //p')";
  const answer = "file YQ== -rw\\033[2J\\ncontent\\n.\\nstamp \\033[2J\\nhash x";
  host.tool("sh", `${nonce}; printf "\\n%s begin\\n${answer}\\n%s end\\n" "$n" "$n"`);
  try {
    expect(await host.machine().write("", "0".repeat(64), "a")).toEqual({ hash: "x", backup: undefined });
    expect((await host.machine().read())[0]?.mode).toBe("-rw");
  } finally {
    host.remove();
  }
});
