import { createHash } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Hub, startHub } from "../../sim/hub.ts";

const TOKEN = "hf_ReaderReaderReaderReaderReaderReade";
const STRANGER = "hf_StrangerStrangerStrangerStrangerStr";
const WEIGHTS = { bytes: 300_000, seed: "small" };

let hub: Hub;

beforeEach(async () => {
  hub = await startHub({
    tokens: [STRANGER],
    repositories: {
      "maker/Small-GGUF": {
        downloads: 1200,
        gguf: { architecture: "llama", context_length: 32_768 },
        files: {
          "README.md": "# Small",
          "Small-Q4_K_M.gguf": WEIGHTS,
          "BF16/Small-BF16.gguf": { bytes: 10 },
        },
      },
      "maker/Other-GGUF": { downloads: 9000, files: { "Other-Q8_0.gguf": { listed: 60 * 2 ** 30 } } },
      "maker/Original": { downloads: 20_000, files: { "model.safetensors": "x" } },
      "maker/Gated-GGUF": { gated: "manual", readers: [TOKEN], files: { "Gated-Q8_0.gguf": "weights" } },
      "maker/Hidden-GGUF": { private: true, readers: [TOKEN], files: { "Hidden-Q8_0.gguf": "weights" } },
    },
  });
});

afterEach(() => hub.close());

const get = (path: string, token?: string, init: RequestInit = {}) =>
  fetch(`${hub.url}${path}`, {
    redirect: "manual",
    ...init,
    headers: { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...init.headers },
  });

const json = async (path: string) => JSON.parse(await (await get(path)).text());

const bytesOf = async (response: Response | Promise<Response>) =>
  Buffer.from(await (await response).arrayBuffer());

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("a search finds the public repositories with GGUF files, the most downloaded first", async () => {
  const found = await json("/api/models?search=maker&filter=gguf&sort=downloads&direction=-1&limit=20");
  expect(found.map(({ id, downloads }: { id: string; downloads: number }) => [id, downloads])).toEqual([
    ["maker/Other-GGUF", 9000],
    ["maker/Small-GGUF", 1200],
    ["maker/Gated-GGUF", 0],
  ]);
  expect(await json("/api/models?search=maker+small&filter=gguf")).toMatchObject([
    { id: "maker/Small-GGUF" },
  ]);
});

test("the details have size and SHA-256 of each file, the tree has them too", async () => {
  const { siblings, sha, gated, gguf } = await json("/api/models/maker/Small-GGUF?blobs=true");
  const weights = siblings.find((each: { rfilename: string }) => each.rfilename === "Small-Q4_K_M.gguf");
  expect(gated).toBe(false);
  expect(gguf).toEqual({ architecture: "llama", context_length: 32_768 });
  const listed = await json(`/api/models/maker/Small-GGUF/tree/${sha}?recursive=true`);
  expect(listed).toContainEqual({
    type: "file",
    oid: weights.blobId,
    size: 300_000,
    lfs: { oid: weights.lfs.sha256, size: 300_000, pointerSize: 135 },
    path: "Small-Q4_K_M.gguf",
  });
  expect(listed.map(({ path }: { path: string }) => path)).toContain("BF16/Small-BF16.gguf");
  const top = await json("/api/models/maker/Small-GGUF/tree/main");
  expect(top).toContainEqual(expect.objectContaining({ type: "directory", path: "BF16" }));
  expect((await json("/api/models/maker/Small-GGUF/refs")).branches[0].targetCommit).toBe(sha);
  const bytes = await bytesOf(fetch(`${hub.url}/maker/Small-GGUF/resolve/${sha}/Small-Q4_K_M.gguf`));
  expect(sha256(bytes)).toBe(weights.lfs.sha256);
});

test("a HEAD for a file is redirected to the storage with size, hash and commit", async () => {
  const { sha } = await json("/api/models/maker/Small-GGUF");
  const path = "/maker/Small-GGUF/resolve/main/Small-Q4_K_M.gguf";
  const redirected = await get(path, undefined, { method: "HEAD" });
  const location = redirected.headers.get("location") ?? "";
  expect([redirected.status, redirected.headers.get("x-repo-commit")]).toEqual([302, sha]);
  expect(redirected.headers.get("x-linked-size")).toBe("300000");
  expect(location.startsWith(`${hub.storageUrl}/`)).toBe(true);
  const stored = await fetch(location, { method: "HEAD" });
  expect(stored.headers.get("etag")).toBe(redirected.headers.get("x-linked-etag"));
  expect([stored.headers.get("accept-ranges"), stored.headers.get("content-length")]).toEqual([
    "bytes",
    "300000",
  ]);
  expect((await fetch(location.replace(/Signature=\w/, "Signature="))).status).toBe(403);
});

test("who may not read a repository learns it in Hugging Face's own way", async () => {
  const answers = async (path: string, token?: string) => {
    const { status, headers } = await get(path, token);
    return [status, headers.get("x-error-code")];
  };
  const file = "/maker/Gated-GGUF/resolve/main/Gated-Q8_0.gguf";
  expect(await json("/api/models/maker/Gated-GGUF")).toMatchObject({ gated: "manual" });
  expect(await answers(file)).toEqual([401, "GatedRepo"]);
  expect(await answers(file, STRANGER)).toEqual([403, "GatedRepo"]);
  expect(await answers(file, TOKEN)).toEqual([302, null]);
  expect(await answers("/api/models/maker/Hidden-GGUF")).toEqual([401, "RepoNotFound"]);
  expect(await answers("/api/models/maker/Hidden-GGUF", STRANGER)).toEqual([404, "RepoNotFound"]);
  expect(await answers("/api/models/maker/Hidden-GGUF", TOKEN)).toEqual([200, null]);
  expect(await answers("/api/models/maker/None")).toEqual([401, "RepoNotFound"]);
  expect(await answers("/api/models/maker/Small-GGUF/tree/elsewhere")).toEqual([404, "RevisionNotFound"]);
  expect(await answers("/maker/Small-GGUF/resolve/main/none.gguf")).toEqual([404, "EntryNotFound"]);
  expect(await answers("/api/models/maker/Small-GGUF", "hf_wrong")).toEqual([401, null]);
  expect(await answers("/api/models/%E0%A4%A")).toEqual([404, null]);
});

test("one that is asked too often says when to come back", async () => {
  hub.limitRate(55, 2);
  const limited = await get("/api/models?search=x");
  expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "55"]);
  expect(limited.headers.get("ratelimit")).toBe('"api";r=0;t=55');
  expect((await get("/api/models?search=x")).status).toBe(429);
  expect((await get("/api/models?search=x")).status).toBe(200);
});

test("a transfer that was cut goes on from there, and the whole has the right hash", async () => {
  const cut = hub.break("Small-Q4_K_M.gguf", { cutAfter: 100_000, times: 1 });
  const url = `${hub.url}/maker/Small-GGUF/resolve/main/Small-Q4_K_M.gguf`;
  const parts: Uint8Array[] = [];
  const { body } = await fetch(url, { headers: { Authorization: `Bearer ${TOKEN}` } });
  const reading = (async () => {
    for await (const part of body ?? []) parts.push(part);
  })();
  await expect(reading).rejects.toThrow("terminated");
  await cut.happened;
  expect(Buffer.concat(parts).length).toBe(100_000);
  const rest = await fetch(url, { headers: { Range: "bytes=100000-" } });
  expect([rest.status, rest.headers.get("content-range")]).toEqual([206, "bytes 100000-299999/300000"]);
  parts.push(await bytesOf(rest));
  const { lfs } = (await json("/api/models/maker/Small-GGUF/tree/main")).at(-1);
  expect(sha256(Buffer.concat(parts))).toBe(lfs.oid);
  expect(hub.requests[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
  expect(hub.transfers.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
});

test("a transfer can be held, be wrong, and ignore the range", async () => {
  const url = `${hub.url}/maker/Small-GGUF/resolve/main/Small-Q4_K_M.gguf`;
  const right = await bytesOf(fetch(url));
  const held = hub.break("Small-Q4_K_M.gguf", { holdAfter: 50_000 });
  const body = bytesOf(fetch(url));
  await held.happened;
  expect(hub.transfers.at(-1)?.finishedAt).toBeUndefined();
  held.end();
  expect(sha256(await body)).toBe(sha256(right));

  const wrong = hub.break("Small-Q4_K_M.gguf", { isWrong: true, times: 1 });
  const damaged = await bytesOf(fetch(url));
  await wrong.happened;
  expect([damaged.length, sha256(damaged) === sha256(right)]).toEqual([300_000, false]);

  hub.obeyRanges(false);
  const whole = await fetch(url, { headers: { Range: "bytes=100-" } });
  expect([whole.status, (await bytesOf(whole)).length]).toEqual([200, 300_000]);
  hub.obeyRanges(true);
  const beyond = await fetch(url, { headers: { Range: "bytes=300000-" } });
  expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */300000"]);
});

test("a new commit takes the place of the old one", async () => {
  const { sha } = await json("/api/models/maker/Small-GGUF");
  hub.publish("maker/Small-GGUF", { files: { "Small-Q4_K_M.gguf": { ...WEIGHTS, seed: "newer" } } });
  expect((await json("/api/models/maker/Small-GGUF")).sha).not.toBe(sha);
  expect((await get(`/maker/Small-GGUF/resolve/${sha}/Small-Q4_K_M.gguf`)).status).toBe(404);
});
