import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readEndpoint } from "../../huggingface/endpoint.ts";
import { faultOf } from "../support/wire.ts";

let home: string;
let empty: string;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "hub-home-"));
  empty = join(home, "empty");
  for (const folder of ["empty", "hf", "xdg/huggingface", ".cache/huggingface"])
    mkdirSync(join(home, folder), { recursive: true });
  const write = (path: string, text: string) => writeFileSync(join(home, path), text);
  write("own-token", "hf_path\n");
  write("hf/token", "hf_home\n");
  write("xdg/huggingface/token", "hf_xdg\n");
  write(".cache/huggingface/token", "hf_cache\n");
  write("blank-token", " \n");
  write("bad-token", "hf_secret word\n");
});

afterAll(() => rmSync(home, { recursive: true }));

test("Hugging Face itself is the default, and a mirror has its own address", async () => {
  const endpoint = async (HF_ENDPOINT?: string) => {
    const { url, isDefault } = await readEndpoint({ HF_ENDPOINT }, empty);
    return [url, isDefault];
  };
  expect(await endpoint()).toEqual(["https://huggingface.co", true]);
  expect(await endpoint(" https://huggingface.co/ ")).toEqual(["https://huggingface.co", true]);
  expect(await endpoint("https://mirror.example/hub/")).toEqual(["https://mirror.example/hub", false]);
});

test("the token is the first that is found, in the order of Hugging Face's own programs", async () => {
  const env: Record<string, string> = {
    HF_TOKEN: "hf_variable",
    HF_TOKEN_PATH: join(home, "own-token"),
    HF_HOME: join(home, "hf"),
    XDG_CACHE_HOME: join(home, "xdg"),
  };
  const found = [];
  for (const name of Object.keys(env)) {
    found.push((await readEndpoint(env, home)).token);
    delete env[name];
  }
  expect(found).toEqual(["hf_variable", "hf_path", "hf_home", "hf_xdg"]);
  expect((await readEndpoint({}, home)).token).toBe("hf_cache");
  expect((await readEndpoint({ HF_TOKEN_PATH: "~/own-token" }, home)).token).toBe("hf_path");
  expect((await readEndpoint({ HF_TOKEN_PATH: join(home, "blank-token") }, empty)).token).toBeUndefined();
});

test("over plain HTTP a token goes to this machine alone", async () => {
  const token = async (HF_ENDPOINT: string) =>
    (await readEndpoint({ HF_ENDPOINT, HF_TOKEN: "hf_x" }, empty)).token;
  expect(await token("http://mirror.example")).toBeUndefined();
  expect(await token("http://127.0.0.1:8000")).toBe("hf_x");
  expect(await token("https://mirror.example")).toBe("hf_x");
});

test("what cannot be used is refused with the name of its variable, and without the secret", async () => {
  const words = async (env: Record<string, string>) => (await faultOf(readEndpoint(env, empty))).message;
  expect(await words({ HF_ENDPOINT: "mirror" })).toBe(
    'HF_ENDPOINT is "mirror": use an address like https://huggingface.co',
  );
  expect(await words({ HF_ENDPOINT: "https://me:secret@mirror.example" })).toBe(
    "HF_ENDPOINT contains a user name or password. Leave it out, and set HF_TOKEN instead.",
  );
  expect(await words({ HF_TOKEN: "hf_secret\u0007" })).not.toContain("secret");
  const file = join(home, "bad-token");
  expect(await words({ HF_TOKEN_PATH: file })).toBe(
    `The Hugging Face token in ${file} contains a space or a character that cannot be sent in an HTTP header. Correct or remove it.`,
  );
});
