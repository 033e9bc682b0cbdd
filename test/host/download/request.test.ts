import { describe, expect, test } from "vitest";
import type { DownloadFile } from "../../../host/download/download.ts";
import { allShards, downloadId, pathList, requestLines } from "../../../host/download/request.ts";

const SHA = "0123456789abcdef".repeat(4);
const FILE: DownloadFile = {
  url: "https://huggingface.co/org/name/resolve/0123/a%20b-Q4_0.gguf",
  path: "org/a b-Q4_0.gguf",
  bytes: 5,
  sha256: SHA,
};
const lines = (change: Partial<DownloadFile>, label = "org/name:Q4_0", token?: string): string =>
  requestLines({ label, folder: "~/models", files: [{ ...FILE, ...change }], token });

test("a request is a line for the label and one for each file, and holds no token", () => {
  expect(lines({}, undefined, "hf_secret")).toBe(
    `label org/name:Q4_0\nfile ${SHA} 5 ${FILE.url} org/a b-Q4_0.gguf\n`,
  );
});

test("an id is the same for the same label, and is safe as a file's name", () => {
  expect(downloadId("org/name:Q4_0")).toBe(downloadId("org/name:Q4_0"));
  expect(downloadId("../../$(x)")).toMatch(/^[0-9a-f]{16}$/);
});

describe("refuses", () => {
  test.each([
    "",
    "/etc/passwd",
    "../up.gguf",
    "a/../../up.gguf",
    "a//b.gguf",
    "a/./b.gguf",
    ".hidden.gguf",
    ".ai-server-download/x.gguf",
    "a/ b.gguf",
    "a.gguf ",
    "a\nb.gguf",
    "a\u0000b.gguf",
    "a\u001b[2J.gguf",
    "a\u202eb.gguf",
    `${"x".repeat(201)}.gguf`,
    "x/".repeat(600),
  ])("the path %j", (path) => {
    expect(() => lines({ path })).toThrow(expect.objectContaining({ code: "bad-request", link: "ssh" }));
  });

  test.each([
    "ftp://huggingface.co/x",
    "file:///etc/passwd",
    "https://user:password@huggingface.co/x",
    'https://huggingface.co/x"\noutput = "/etc/passwd',
    "https://huggingface.co/a b",
    "https://huggingface.co/a\\b",
    "https://huggingface.co/<b>",
    "-o/etc/passwd",
    "https://-x",
    "https://huggingface.co/\u00e9",
    `https://huggingface.co/${"x".repeat(2000)}`,
  ])("the address %j", (url) => {
    expect(() => lines({ url })).toThrow(expect.objectContaining({ code: "bad-request" }));
  });

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60])("a size of %d", (bytes) => {
    expect(() => lines({ bytes })).toThrow(/size .* is not known/);
  });

  test.each(["", SHA.slice(1), SHA.toUpperCase(), `${SHA} 5`])("the hash %j", (sha256) => {
    expect(() => lines({ sha256 })).toThrow(/no SHA-256/);
  });

  test.each(["", "a\nfile x", " a", "x".repeat(301), "a\u001b"])("the label %j", (label) => {
    expect(() => lines({}, label)).toThrow(/contains characters that no repository can have/);
  });

  test.each(["", "a b", 'a"b', "a\nb", "a\\b", "$(x)", "x".repeat(1001)])(
    "the token %j, without repeating it",
    (token) => {
      const refused = (() => {
        try {
          return lines({}, undefined, token);
        } catch (error) {
          return String(error);
        }
      })();
      expect(refused).toBe(
        "HostError: The token for Hugging Face contains characters that no token can have. Nothing was downloaded.",
      );
    },
  );

  test("no file, too many files, and one file twice", () => {
    const files = (number: number) =>
      Array.from({ length: number }, (_, at) => ({
        ...FILE,
        path: `${at}`,
        sha256: at.toString(16).padStart(64, "0"),
      }));
    const of = (some: readonly DownloadFile[]) => requestLines({ label: "a", folder: "/", files: some });
    expect(() => of([])).toThrow(/has 0 files/);
    expect(() => of(files(1001))).toThrow(/has 1001 files/);
    expect(of(files(1000)).split("\n")).toHaveLength(1002);
    expect(() => of([FILE, { ...FILE, path: "b" }])).toThrow(/names a file twice/);
    expect(() => of([FILE, { ...FILE, sha256: "f".repeat(64) }])).toThrow(/names a file twice/);
  });

  test.each(["a.gguf", "~/a.gguf", "/a/../b", "/a\nb", "", "/a/b\u0007"])(
    "to look at or delete %j",
    (path) => {
      expect(() => pathList([{ path, bytes: 1 }])).toThrow(/is not the absolute path of a file/);
    },
  );
});

test("a shard stands for all shards of its file, and any other file for itself", () => {
  const all = ["/m/a-00001-of-00003.gguf", "/m/a-00002-of-00003.gguf", "/m/a-00003-of-00003.gguf"];
  expect(allShards([all[0] ?? "", "/m/b.gguf"])).toEqual([...all, "/m/b.gguf"]);
  expect(allShards([all[1] ?? ""])).toEqual(all);
  expect(allShards([...all, ...all])).toEqual(all);
  expect(allShards(["/m/a-00001-of-00000.gguf", "/m/a-00001-of-99999.gguf"])).toHaveLength(2);
});
