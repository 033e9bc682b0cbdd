import { createServer, type RequestListener } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HubClient, isRepositoryId, RefusedError } from "../../huggingface/hub.ts";
import { type Hub, startHub } from "../../sim/hub.ts";
import { FakeClock } from "../support/clock.ts";
import { listen } from "../support/network.ts";
import { faultOf, kept } from "../support/wire.ts";

const TOKEN = "hf_ReaderReaderReaderReaderReaderReade";
const STRANGER = "hf_StrangerStrangerStrangerStrangerStr";
const never = new AbortController().signal;

let hub: Hub;

beforeEach(async () => {
  hub = await startHub({
    tokens: [STRANGER],
    repositories: {
      "maker/Small-GGUF": {
        downloads: 1200,
        gguf: { context_length: 32_768 },
        files: {
          "README.md": "# Small",
          "Small-Q4_K_M.gguf": { bytes: 3000 },
          "mmproj-F16.gguf": { bytes: 10 },
          "BF16/Small-BF16-00002-of-00002.gguf": { bytes: 4000 },
          "BF16/Small-BF16-00001-of-00002.gguf": { bytes: 4000 },
        },
      },
      "maker/Other-GGUF": { downloads: 9000, files: { "Other-Q8_0.gguf": "x" } },
      "maker/Original": { files: { "model.safetensors": "x" } },
      "maker/Strange-GGUF": {
        files: { "$(reboot)-Q8_0.gguf": "x", "-o-Q4_K_M.gguf": "x", "a b-Q2_K.gguf": "x" },
      },
      "maker/Half-GGUF": { files: { "Half-Q8_0-00001-of-00002.gguf": "x" } },
      "maker/Gated-GGUF": { gated: "manual", readers: [TOKEN], files: { "Gated-Q8_0.gguf": "weights" } },
      "maker/Hidden-GGUF": { private: true, readers: [TOKEN], files: { "Hidden-Q8_0.gguf": "weights" } },
    },
  });
});

afterEach(() => hub.close());

const client = (token?: string, url = hub.url) => new HubClient({ url, token, isDefault: false });

const serving = async (answer: RequestListener): Promise<string> => {
  const server = createServer(answer);
  const port = await listen(server);
  await kept({
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return `http://127.0.0.1:${port}`;
};

const json = (value: unknown) => serving((_, response) => response.end(JSON.stringify(value)));

test("a search gives repositories with their downloads, the most downloaded first", async () => {
  expect(await client().search("maker gguf", never)).toEqual([
    { id: "maker/Other-GGUF", downloads: 9000 },
    { id: "maker/Small-GGUF", downloads: 1200 },
    { id: "maker/Strange-GGUF", downloads: 0 },
    { id: "maker/Half-GGUF", downloads: 0 },
    { id: "maker/Gated-GGUF", downloads: 0 },
  ]);
  const [request] = hub.requests;
  expect(request?.path).toBe(
    "/api/models?search=maker+gguf&filter=gguf&sort=downloads&direction=-1&limit=20",
  );
  expect(request?.headers.authorization).toBeUndefined();
});

test("a repository has its models with size and hash, at one commit", async () => {
  const found = await client(TOKEN).repository("maker/Small-GGUF", never);
  expect(found).toMatchObject({ id: "maker/Small-GGUF", isGated: false, trainedContext: 32_768 });
  expect(found.page).toBe(`${hub.url}/maker/Small-GGUF`);
  expect(found.quantisations.map(({ name, bytes, files }) => [name, bytes, files.length])).toEqual([
    ["Q4_K_M", 3000, 1],
    ["BF16", 8000, 2],
  ]);
  expect(found.projectors.map(({ path, bytes }) => [path, bytes])).toEqual([["mmproj-F16.gguf", 10]]);
  const file = found.quantisations[1]?.files[0];
  expect(file?.url).toBe(`${hub.url}/maker/Small-GGUF/resolve/${found.revision}/${file?.path}`);
  expect((await fetch(file?.url ?? "", { method: "HEAD" })).headers.get("etag")).toBe(`"${file?.sha256}"`);
  expect(hub.requests[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
});

test("a gated repository shows its models, and says where to agree to its terms", async () => {
  const { isGated, page } = await client().repository("maker/Gated-GGUF", never);
  expect([isGated, page]).toEqual([true, `${hub.url}/maker/Gated-GGUF`]);
});

const host = () => new URL(hub.url).host;

test.each([
  [
    "maker/Original",
    () =>
      "maker/Original has no GGUF files, which llama.cpp needs. Search for Original with GGUF in its name: others often publish them.",
  ],
  [
    "maker/Strange-GGUF",
    () =>
      "maker/Strange-GGUF has GGUF files, but none that can be used: $(reboot)-Q8_0.gguf has a name with special characters, or no SHA-256 to check a download against.",
  ],
  ["maker/Half-GGUF", () => "In maker/Half-GGUF, parts of Q8_0 are missing, so it cannot be loaded."],
  [
    "maker/None",
    () =>
      `${host()} has no repository maker/None, or does not show it to you. Check its name at ${hub.url}/models; if it is private, set HF_TOKEN to a token that may read it.`,
  ],
])("%s ends in a sentence", async (id, sentence) => {
  expect((await faultOf(client().repository(id, never))).message).toBe(sentence());
});

test("a private repository is refused to a stranger and given to its reader", async () => {
  const refused = await faultOf(client(STRANGER).repository("maker/Hidden-GGUF", never));
  expect(refused).toBeInstanceOf(RefusedError);
  expect(refused.message).toContain("the token must belong to a user who may read it.");
  const { quantisations } = await client(TOKEN).repository("maker/Hidden-GGUF", never);
  expect(quantisations.map(({ name }) => name)).toEqual(["Q8_0"]);
});

test("a token that the hub does not know is not repeated", async () => {
  const { message } = await faultOf(client("hf_expired").search("x", never));
  expect(message).toBe(
    `${host()} does not accept the token in HF_TOKEN or its file: it may have expired. Make a new one at ${hub.url}/settings/tokens, or remove it.`,
  );
});

test("a limit says how long to wait", async () => {
  hub.limitRate(55, 2);
  const limited = `${host()} limits how often it may be asked. Try again in 55 s.`;
  expect((await faultOf(client().search("x", never))).message).toBe(
    `${limited} With a token in HF_TOKEN the limit is higher.`,
  );
  expect((await faultOf(client(TOKEN).search("x", never))).message).toBe(limited);
  hub.failNext({ status: 429, headers: { RateLimit: '"api";r=0;t=12' } });
  expect((await faultOf(client(TOKEN).search("x", never))).message).toContain("in 12 s.");
  hub.failNext({ status: 503 });
  expect((await faultOf(client().search("x", never))).message).toBe(
    `${host()} answered with status 503. Try again later.`,
  );
});

test("a hub that is away or silent, and Escape, end the request", async () => {
  const url = hub.url;
  await hub.close();
  expect((await faultOf(client(undefined, url).search("x", never))).message).toMatch(
    /could not be reached \(\w+\)\. Check this machine's connection to the internet, and HF_ENDPOINT\./,
  );
  const asked = Promise.withResolvers<void>();
  const silent = await serving(() => asked.resolve());
  const clock = new FakeClock();
  const late = faultOf(
    new HubClient({ url: silent, token: undefined, isDefault: false }, fetch, clock).search("x", never),
  );
  await asked.promise;
  await clock.advance(15_000);
  expect((await late).message).toContain("did not answer within 15 s. Try again.");
  const stopping = new AbortController();
  const cancelled = client(undefined, silent).search("x", stopping.signal);
  stopping.abort(new Error("Cancelled"));
  await expect(cancelled).rejects.toThrow("Cancelled");
});

test("an answer of another shape, or without end, is not taken", async () => {
  const url = await json({ message: "hello" });
  expect((await faultOf(client(undefined, url).search("x", never))).message).toContain(
    "answered a search with something that this version does not understand. Check HF_ENDPOINT.",
  );
  expect((await faultOf(client(undefined, url).repository("a/b", never))).message).toContain(
    "answered a/b with",
  );
  const endless = await serving((_, response) => {
    const more = (): void => {
      while (response.write("x".repeat(65_536)));
      response.once("drain", more);
    };
    more();
  });
  expect((await faultOf(client(undefined, endless).search("x", never))).message).toContain(
    "answered a search",
  );
});

test("ids and paths that are none are left out", async () => {
  const bad = ["a/b; rm -rf", "../x/y", "a", "a/b/c", "a/-b", "-a/b", "a/..", `a/${"b".repeat(300)}`, 5];
  const url = await json([...bad, "ok/fine.v1-GGUF"].map((id) => ({ id, downloads: "many" })));
  expect(await client(undefined, url).search("x", never)).toEqual([{ id: "ok/fine.v1-GGUF", downloads: 0 }]);
  expect(["a/b", "a_1/B.2-c"].every(isRepositoryId)).toBe(true);
  const lfs = { sha256: "0".repeat(64) };
  const paths = [
    "../up-Q8_0.gguf",
    "/etc/x-Q8_0.gguf",
    "a//x-Q8_0.gguf",
    "x\n-Q8_0.gguf",
    ".hid-Q8_0.gguf",
    "fine-Q4_0.gguf",
  ];
  const siblings = paths.map((rfilename) => ({ rfilename, size: 1, lfs }));
  const repository = await json({ id: "a/b; x", sha: "0".repeat(40), siblings });
  const found = await client(undefined, repository).repository("a/b", never);
  expect([found.id, found.quantisations.map(({ name }) => name)]).toEqual(["a/b", ["Q4_0"]]);
});

test("a token does not follow a redirect to another host", async () => {
  const seen: (string | undefined)[] = [];
  const elsewhere = await serving((request, response) => {
    seen.push(request.headers.authorization);
    response.end("[]");
  });
  const url = await serving((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(307, { Location: `${elsewhere}/api` }).end();
  });
  expect(await client(TOKEN, url).search("x", never)).toEqual([]);
  expect(seen).toEqual([`Bearer ${TOKEN}`, undefined]);
});
