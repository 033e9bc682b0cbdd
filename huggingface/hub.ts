/** Hugging Face as its API shows it: a search, and the files of one repository. */
import type { Variables } from "../config.ts";
import { type Clock, REAL_CLOCK, within } from "../lib/clock.ts";
import { codeOf, ServerError } from "../lib/errors.ts";
import { wholeSeconds } from "../lib/figures.ts";
import { count, list, number, parsed, record, records, text } from "../lib/json.ts";
import { cleanText } from "../lib/text.ts";
import { type Endpoint, readEndpoint } from "./endpoint.ts";
import { groupFiles, type HubFile, type Quantisation } from "./quantisations.ts";

export interface FoundRepository {
  id: string;
  /** Of the last 30 days. */
  downloads: number;
}

/** A repository with GGUF files, at the commit that it has now. */
export interface Repository {
  id: string;
  /** The commit: 40 hexadecimal digits. */
  revision: string;
  /** Its files are given only to who has agreed to its terms on `page`. */
  isGated: boolean;
  /** Whether its files are given to no one without a token. */
  needsToken: boolean;
  page: string;
  /** The smallest first; at least one. */
  quantisations: readonly Quantisation[];
  /** Encoders for images and sound, the most usual first. */
  projectors: readonly HubFile[];
  /** The context window that the model was trained for, where the hub has read it in the file. */
  trainedContext: number | undefined;
}

/** The hub has refused a repository: gated, private or missing. */
export class RefusedError extends ServerError {}

type Fetch = (url: string, init: RequestInit) => Promise<Response>;

const REQUEST_MS = 15_000;
/** Of one answer: a repository of a thousand files has 300 kB. */
const MOST_BYTES = 8 * 1024 * 1024;
const MOST_RESULTS = 20;
/** As llama.cpp takes them (`is_valid_repo_id` in its common/hf-cache.cpp). */
const REPOSITORY_ID = /^(?=.{3,200}$)\w+(?:[.-]\w+)*\/\w+(?:[.-]\w+)*$/;
/** Of a file's path: what needs no quoting in any shell, and is no flag and no way out of the folder. */
const PLAIN_NAME = /^[A-Za-z0-9_][A-Za-z0-9._+@=-]{0,200}$/;

/** Whether a text is `owner/repository`, spelled as Hugging Face takes it. */
export function isRepositoryId(id: string): boolean {
  return REPOSITORY_ID.test(id);
}

/** The hub that the environment names. @throws {ServerError} where a variable or a token cannot be used */
export async function openHub(variables: Variables): Promise<HubClient> {
  return new HubClient(await readEndpoint(variables));
}

/** A client of one hub. Its token goes to that hub alone: `fetch` leaves it out where a redirect leads elsewhere. */
export class HubClient {
  readonly #endpoint: Endpoint;
  readonly #fetch: Fetch;
  readonly #clock: Clock;

  /** @param fetch pi's own by default, which goes through the user's proxy */
  constructor(endpoint: Endpoint, fetch: Fetch = globalThis.fetch, clock: Clock = REAL_CLOCK) {
    this.#endpoint = endpoint;
    this.#fetch = fetch;
    this.#clock = clock;
  }

  /** Which a download on another machine needs too. */
  get token(): string | undefined {
    return this.#endpoint.token;
  }

  /**
   * Repositories with GGUF files, the most downloaded first.
   *
   * @param query words of their names
   * @throws {ServerError}; the signal's reason
   */
  async search(query: string, signal: AbortSignal): Promise<FoundRepository[]> {
    const params = new URLSearchParams({
      search: query,
      filter: "gguf",
      sort: "downloads",
      direction: "-1",
      limit: String(MOST_RESULTS),
    });
    const answer = await this.#ask(`/api/models?${params}`, undefined, signal);
    if (!Array.isArray(answer)) throw this.#strange("a search");
    return records(answer).flatMap(({ id, downloads }) =>
      typeof id === "string" && isRepositoryId(id) ? [{ id, downloads: count(downloads) ?? 0 }] : [],
    );
  }

  /**
   * The models in a repository.
   *
   * @param id for which `isRepositoryId` is true
   * @throws {RefusedError} for one that is missing or closed to the user
   * @throws {ServerError} also for one without a model that could be used; the signal's reason
   */
  async repository(id: string, signal: AbortSignal): Promise<Repository> {
    const answer = record(await this.#ask(`/api/models/${id}?blobs=true`, id, signal));
    const revision = text(answer?.sha);
    if (revision === undefined || !/^[0-9a-f]{40}$/.test(revision)) throw this.#strange(id);
    // One that was renamed has another id now.
    const current = typeof answer?.id === "string" && isRepositoryId(answer.id) ? answer.id : id;
    const { files, strange } = this.#filesIn(list(answer?.siblings), current, revision);
    const { quantisations, projectors, incomplete } = groupFiles(files);
    if (quantisations.length === 0) throw withoutModel(id, strange, incomplete);
    const isGated = answer?.gated === "auto" || answer?.gated === "manual" || answer?.gated === true;
    return {
      id: current,
      revision,
      isGated,
      needsToken: isGated || answer?.private === true,
      page: this.#pageOf(current),
      quantisations,
      projectors,
      trainedContext: count(record(answer?.gguf)?.context_length),
    };
  }

  /**
   * Whether the hub gives a file to the user: asked without fetching it.
   *
   * @throws {RefusedError} where it is closed to the user, with what to do; the signal's reason
   */
  async requireAccess(
    { id, page }: Repository,
    { files: [file] }: Quantisation,
    signal: AbortSignal,
  ): Promise<void> {
    if (file === undefined) return;
    await this.#reach(file.url, { method: "HEAD", redirect: "manual" }, signal, async ({ status }) => {
      if (status !== 401 && status !== 403) return;
      const token =
        this.#endpoint.token === undefined
          ? "then set HF_TOKEN to a token of that account"
          : "with the account of the token in HF_TOKEN or its file";
      throw new RefusedError(
        `${id} is gated, and not open to you. Agree to its terms at ${page}, ${token}.`,
        {
          link: "Hugging Face",
          status,
        },
      );
    });
  }

  /** @returns the GGUF files, and names of those that cannot be used */
  #filesIn(siblings: readonly unknown[], id: string, revision: string) {
    const files: HubFile[] = [];
    const strange: string[] = [];
    for (const sibling of records(siblings)) {
      const path = text(sibling.rfilename);
      if (path === undefined || !/\.gguf$/i.test(path)) continue;
      const bytes = number(sibling.size);
      const sha256 = text(record(sibling.lfs)?.sha256);
      const isUsable = path.split("/").every((name) => PLAIN_NAME.test(name)) && Number.isSafeInteger(bytes);
      if (!isUsable || bytes === undefined || sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256))
        strange.push(cleanText(path, 100));
      else
        files.push({ path, bytes, sha256, url: `${this.#endpoint.url}/${id}/resolve/${revision}/${path}` });
    }
    return { files, strange };
  }

  #pageOf(id: string): string {
    return `${this.#endpoint.url}/${id}`;
  }

  get #name(): string {
    return this.#endpoint.isDefault ? "Hugging Face" : new URL(this.#endpoint.url).host;
  }

  /** @param id of the repository that is asked for */
  #ask(path: string, id: string | undefined, signal: AbortSignal): Promise<unknown> {
    const address = this.#endpoint.url + path;
    return this.#reach(address, { headers: { Accept: "application/json" } }, signal, async (response) => {
      const body = await boundedText(response, () => this.#strange(id ?? "a search"));
      if (!response.ok) throw this.#refusal(response, id);
      return parsed(body);
    });
  }

  /** One request to the hub with the user's token. */
  async #reach<T>(
    address: string,
    init: RequestInit,
    signal: AbortSignal,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const { token } = this.#endpoint;
    const headers = { ...init.headers, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) };
    const late = (): ServerError =>
      hubFault(`${this.#name} did not answer within ${wholeSeconds(REQUEST_MS)}. Try again.`, "retry");
    try {
      return await within(REQUEST_MS, signal, this.#clock, late, async (stop) =>
        read(await this.#fetch(address, { ...init, headers, signal: stop })),
      );
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ServerError) throw error;
      throw this.#unreachable(error);
    }
  }

  #unreachable(error: unknown): ServerError {
    const code = codeOf(error);
    const why = code === "" ? "" : ` (${cleanText(code, 60)})`;
    const setting = this.#endpoint.isDefault ? "" : ", and HF_ENDPOINT";
    return hubFault(
      `${this.#name} could not be reached${why}. Check this machine's connection to the internet${setting}.`,
      "retry",
      error,
    );
  }

  #refusal({ status, headers }: Response, id: string | undefined): ServerError {
    const { token } = this.#endpoint;
    if (status === 429) return this.#rateLimit(headers);
    if (status === 401 && token !== undefined && headers.get("x-error-code") === null) {
      return new RefusedError(
        `${this.#name} does not accept the token in HF_TOKEN or its file: it may have expired. Make a new one at ${this.#endpoint.url}/settings/tokens, or remove it.`,
        { link: "Hugging Face", status },
      );
    }
    if (id !== undefined && (status === 401 || status === 403 || status === 404)) {
      const access =
        token === undefined
          ? "set HF_TOKEN to a token that may read it"
          : "the token must belong to a user who may read it";
      return new RefusedError(
        `${this.#name} has no repository ${id}, or does not show it to you. Check its name at ${this.#endpoint.url}/models; if it is private, ${access}.`,
        { link: "Hugging Face", status },
      );
    }
    return hubFault(`${this.#name} answered with status ${status}. Try again later.`, "retry");
  }

  #rateLimit(headers: Headers): ServerError {
    // `"api";r=0;t=55`: the seconds until it counts from the beginning again.
    const seconds = number(
      headers.get("retry-after") ?? /;\s*t=(\d{1,6})/.exec(headers.get("ratelimit") ?? "")?.[1],
    );
    const wait = seconds === undefined ? "in some minutes" : `in ${seconds} s`;
    const more = this.#endpoint.token === undefined ? " With a token in HF_TOKEN the limit is higher." : "";
    return hubFault(`${this.#name} limits how often it may be asked. Try again ${wait}.${more}`, "retry");
  }

  #strange(what: string): ServerError {
    return hubFault(
      `${this.#name} answered ${what} with something that this version does not understand.${this.#endpoint.isDefault ? "" : " Check HF_ENDPOINT."}`,
      "none",
    );
  }
}

function withoutModel(id: string, strange: readonly string[], incomplete: readonly string[]): ServerError {
  const [first] = strange;
  const [part] = incomplete;
  if (part !== undefined) {
    return hubFault(`In ${id}, parts of ${part} are missing, so it cannot be loaded.`, "none");
  }
  if (first !== undefined) {
    return hubFault(
      `${id} has GGUF files, but none that can be used: ${first} has a name with special characters, or no SHA-256 to check a download against.`,
      "none",
    );
  }
  return hubFault(
    `${id} has no GGUF files, which llama.cpp needs. Search for ${id.slice(id.indexOf("/") + 1)} with GGUF in its name: others often publish them.`,
    "none",
  );
}

function hubFault(message: string, remedy: "none" | "retry", cause?: unknown): ServerError {
  return new ServerError(message, { link: "Hugging Face", remedy, cause });
}

/** @param tooLong makes the error for a body beyond the bound */
async function boundedText(response: Response, tooLong: () => ServerError): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MOST_BYTES) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
