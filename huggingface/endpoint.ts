/** Where Hugging Face is, and who asks: the variables that the ecosystem's own programs read. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { isLoopback, wrong } from "../config/values.ts";
import type { Variables } from "../config.ts";
import { ServerError } from "../lib/errors.ts";

const DEFAULT_ENDPOINT = "https://huggingface.co";

/** A hub, and the token that it alone may see. */
export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  /** Whether it is Hugging Face itself, and not one that `HF_ENDPOINT` names. */
  readonly isDefault: boolean;
  readonly token: string | undefined;
}

/**
 * Reads `HF_ENDPOINT` and the token: `HF_TOKEN`, then the files `$HF_TOKEN_PATH`, `$HF_HOME/token`,
 * `$XDG_CACHE_HOME/huggingface/token` and `~/.cache/huggingface/token`, as `hf` does. Over plain HTTP a token goes to this
 * machine alone.
 *
 * @throws {ServerError} that names the variable or file which is wrong; a token is never repeated
 */
export async function readEndpoint(env: Variables, home = homedir()): Promise<Endpoint> {
  const url = parseEndpoint(env.HF_ENDPOINT?.trim() || DEFAULT_ENDPOINT);
  const isSecret = url.protocol === "https:" || isLoopback(url.hostname);
  const found = isSecret ? await findToken(env, home) : undefined;
  if (found !== undefined && !/^[\x21-\x7e]{1,1000}$/.test(found.token)) {
    throw new ServerError(
      `The Hugging Face token in ${found.source} contains a space or a character that cannot be sent in an HTTP header. Correct or remove it.`,
      { link: "configuration" },
    );
  }
  const address = url.origin + url.pathname.replace(/\/+$/, "");
  return { url: address, isDefault: address === DEFAULT_ENDPOINT, token: found?.token };
}

function parseEndpoint(value: string): URL {
  const name = "HF_ENDPOINT";
  // A value that may hold a password is not repeated.
  if (value.includes("@")) {
    throw new ServerError(
      `${name} contains a user name or password. Leave it out, and set HF_TOKEN instead.`,
      {
        link: "configuration",
      },
    );
  }
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw wrong(name, value, "use an address like https://huggingface.co");
  }
  return url;
}

async function findToken(
  env: Variables,
  home: string,
): Promise<{ token: string; source: string } | undefined> {
  const own = env.HF_TOKEN?.trim();
  if (own) return { token: own, source: "HF_TOKEN" };
  const folders = [
    env.HF_HOME,
    env.XDG_CACHE_HOME && join(env.XDG_CACHE_HOME, "huggingface"),
    join(home, ".cache", "huggingface"),
  ];
  const paths = [env.HF_TOKEN_PATH, ...folders.map((folder) => folder && join(folder, "token"))];
  for (const path of paths) {
    const token = path && (await readFile(path.replace(/^~(?=\/)/, home), "utf8").catch(() => "")).trim();
    if (path && token) return { token, source: path };
  }
  return undefined;
}
