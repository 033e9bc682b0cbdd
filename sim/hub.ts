import { createHash } from "node:crypto";
import { Door, type Failure } from "./door.ts";
import { type Exchange, type RequestRecord, reply, replyJson } from "./http.ts";
import { details, refs, searchResults, tree } from "./hub/lists.ts";
import { type HubRepository, Repository, type StoredFile } from "./hub/repository.ts";
import { type Breakage, type Broken, Transfers } from "./hub/transfers.ts";

export interface HubOptions {
  /** By `owner/name`. */
  repositories: Readonly<Record<string, HubRepository>>;
  /** Tokens that the hub knows; any other is refused. Those of the repositories' readers are known too. */
  tokens?: readonly string[];
  /** For each transfer; default: as fast as it goes. */
  bytesPerSecond?: number;
  /** Default: any free port, on 127.0.0.1. */
  port?: number;
}

/** A running stand-in of Hugging Face. */
export interface Hub {
  /** For `HF_ENDPOINT`. */
  readonly url: string;
  /** Where the hub sends who wants an LFS file: another host on the real one, another port here. */
  readonly storageUrl: string;
  /** Requests to the hub, in order of arrival. */
  readonly requests: RequestRecord[];
  /** Requests to the storage, in order of arrival. */
  readonly transfers: RequestRecord[];
  /** Answers the next fitting request to the hub with `failure`; several calls queue up. */
  failNext(failure: Failure): void;
  /** The same for the storage. */
  failTransfer(failure: Failure): void;
  /** Refuses the next `times` requests as one does who was asked too often. Default 1. */
  limitRate(seconds: number, times?: number): void;
  /** Breaks the transfers of one file, by its path in the repository. */
  break(path: string, breakage: Breakage): Broken;
  /** For each transfer from now on, and those under way. */
  setPace(bytesPerSecond: number): void;
  /** Whether the storage obeys `Range`. Default true. */
  obeyRanges(obeys: boolean): void;
  /** Puts another commit of a repository in place of the old one, or a new repository. */
  publish(id: string, repository: HubRepository): void;
  close(): Promise<void>;
}

/** Starts the stand-in on 127.0.0.1, without TLS: the hub on one port, its storage on another. */
export async function startHub(options: HubOptions): Promise<Hub> {
  const hub = new RunningHub(options);
  await hub.listen();
  return hub;
}

const TEXT = { "Content-Type": "text/plain; charset=utf-8" };

class RunningHub implements Hub {
  readonly #repositories = new Map<string, Repository>();
  /** Files in storage, by their signed address's path. */
  readonly #stored = new Map<string, { file: StoredFile; signature: string }>();
  readonly #transfers = new Transfers();
  readonly #tokens: Set<string>;
  readonly #door: Door;
  readonly #storage: Door;

  constructor({ repositories, tokens = [], port, bytesPerSecond }: HubOptions) {
    const readers = Object.values(repositories).flatMap((each) => each.readers ?? []);
    this.#tokens = new Set([...tokens, ...readers]);
    for (const [id, about] of Object.entries(repositories)) this.publish(id, about);
    if (bytesPerSecond !== undefined) this.#transfers.bytesPerSecond = bytesPerSecond;
    const options = { tls: "none" as const, keepAliveTimeoutMs: 60_000 };
    const handle = (exchange: Exchange) => this.#handle(exchange);
    this.#door = new Door("", { ...options, ...(port === undefined ? {} : { port }) }, handle, () => {});
    this.#storage = new Door(
      "",
      options,
      (exchange) => this.#transfer(exchange),
      () => {},
    );
  }

  get url(): string {
    return this.#door.url;
  }

  get storageUrl(): string {
    return this.#storage.url;
  }

  get requests(): RequestRecord[] {
    return this.#door.requests;
  }

  get transfers(): RequestRecord[] {
    return this.#storage.requests;
  }

  async listen(): Promise<void> {
    await Promise.all([this.#door.listen(), this.#storage.listen()]);
  }

  failNext(failure: Failure): void {
    this.#door.failNext(failure);
  }

  failTransfer(failure: Failure): void {
    this.#storage.failNext(failure);
  }

  limitRate(seconds: number, times = 1): void {
    const headers = {
      RateLimit: `"api";r=0;t=${seconds}`,
      "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
      "Retry-After": String(seconds),
    };
    const body = JSON.stringify({ error: "We had to rate limit your IP. Log in, or try again later." });
    for (let i = 0; i < times; i++) this.#door.failNext({ status: 429, headers, body });
  }

  break(path: string, breakage: Breakage): Broken {
    return this.#transfers.break(path, breakage);
  }

  setPace(bytesPerSecond: number): void {
    this.#transfers.bytesPerSecond = bytesPerSecond;
  }

  obeyRanges(obeys: boolean): void {
    this.#transfers.obeysRanges = obeys;
  }

  publish(id: string, about: HubRepository): void {
    for (const token of about.readers ?? []) this.#tokens.add(token);
    this.#repositories.set(id, new Repository(id, about));
  }

  async close(): Promise<void> {
    await Promise.all([this.#door.close(), this.#storage.close()]);
  }

  async #handle(exchange: Exchange): Promise<void> {
    const url = new URL(exchange.path, this.url);
    const token = tokenOf(exchange);
    if (token !== undefined && !this.#tokens.has(token)) {
      return refuse(exchange, 401, undefined, "Invalid credentials in Authorization header");
    }
    const path = decoded(url.pathname);
    if (path === "/api/models") {
      return replyJson(exchange, 200, searchResults([...this.#repositories.values()], url.searchParams));
    }
    const api = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(.+))?$/.exec(path);
    if (api) return this.#answer(exchange, api[1] ?? "", api[2] ?? "", url.searchParams);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    if (resolve) return this.#resolve(exchange, resolve[1] ?? "", resolve[2] ?? "", resolve[3] ?? "");
    refuse(exchange, 404, undefined, "Sorry, we can't find the page you are looking for.");
  }

  async #answer(exchange: Exchange, id: string, rest: string, query: URLSearchParams): Promise<void> {
    const repository = this.#find(exchange, id);
    if (!repository) return;
    const [verb = "", revision = "main", ...folder] = rest.split("/");
    if (!isAt(repository, revision)) return refuseRevision(exchange, revision);
    if (verb === "" || verb === "revision") return replyJson(exchange, 200, await details(repository, query));
    if (verb === "refs") return replyJson(exchange, 200, refs(repository));
    if (verb !== "tree") return refuse(exchange, 404, undefined, "Not found");
    const isRecursive = ["true", "1"].includes(query.get("recursive") ?? "");
    replyJson(exchange, 200, await tree(repository, folder.join("/"), isRecursive));
  }

  /** `/<id>/resolve/<revision>/<path>`: small files come at once, LFS objects by a redirect to the storage. */
  async #resolve(exchange: Exchange, id: string, revision: string, path: string): Promise<void> {
    const repository = this.#find(exchange, id);
    if (!repository) return;
    if (!isAt(repository, revision)) return refuseRevision(exchange, revision);
    const refusal = repository.refusal(tokenOf(exchange));
    if (refusal !== undefined) return this.#refuseGated(exchange, id, refusal === "no token");
    const file = await repository.file(path);
    if (!file) return refuse(exchange, 404, "EntryNotFound", "Entry not found");
    const commit = { "X-Repo-Commit": repository.commit };
    if (file.sha256 === undefined) return this.#transfers.send(exchange, file, commit);
    const location = this.#sign(file);
    const linked = { "X-Linked-Size": String(file.size), "X-Linked-ETag": `"${file.sha256}"` };
    const headers = { ...TEXT, ...commit, ...linked, "Accept-Ranges": "bytes", Location: location };
    reply(
      exchange,
      302,
      headers,
      exchange.method === "HEAD" ? undefined : `Found. Redirecting to ${location}`,
    );
  }

  #find(exchange: Exchange, id: string): Repository | undefined {
    const token = tokenOf(exchange);
    const repository = this.#repositories.get(id);
    if (repository && repository.refusal(token) !== "unknown") return repository;
    // Whether a repository is private or missing, only who has signed in may know.
    if (token === undefined) refuse(exchange, 401, "RepoNotFound", "Invalid username or password.");
    else refuse(exchange, 404, "RepoNotFound", "Repository not found");
    return undefined;
  }

  #refuseGated(exchange: Exchange, id: string, isUnknown: boolean): void {
    const [status, why]: [number, string] = isUnknown
      ? [401, ". You must have access to it and be authenticated to access it. Please log in."]
      : [
          403,
          ` and you are not in the authorized list. Visit https://huggingface.co/${id} to ask for access.`,
        ];
    refuse(exchange, status, "GatedRepo", `Access to model ${id} is restricted${why}`);
  }

  #sign(file: StoredFile): string {
    const path = `/xet-bridge-us/${file.sha256}/${createHash("sha1").update(file.path).digest("hex")}`;
    const signature = createHash("sha256").update(`${path} ${file.path}`).digest("hex").slice(0, 32);
    this.#stored.set(path, { file, signature });
    return `${this.storageUrl}${path}?X-Amz-Expires=3600&X-Amz-Signature=${signature}&x-id=GetObject`;
  }

  /** The storage knows no tokens: any client with the signed address may read the file. */
  async #transfer(exchange: Exchange): Promise<void> {
    const url = new URL(exchange.path, this.storageUrl);
    const stored = this.#stored.get(url.pathname);
    if (!stored || url.searchParams.get("X-Amz-Signature") !== stored.signature) {
      return reply(
        exchange,
        403,
        { "Content-Type": "application/xml" },
        "<Error><Code>AccessDenied</Code></Error>",
      );
    }
    await this.#transfers.send(exchange, stored.file, {});
  }
}

function isAt({ commit }: Repository, revision: string): boolean {
  return revision === "main" || revision === commit;
}

function refuseRevision(exchange: Exchange, revision: string): void {
  refuse(exchange, 404, "RevisionNotFound", `Invalid rev id: ${encodeURIComponent(revision)}`);
}

/** @param code Hugging Face's own, in a header of its own */
function refuse(exchange: Exchange, status: number, code: string | undefined, message: string): void {
  const headers = { ...(code ? { "X-Error-Code": code } : {}), "X-Error-Message": message };
  const type = { "Content-Type": "application/json; charset=utf-8" };
  reply(exchange, status, { ...type, ...headers }, JSON.stringify({ error: message }));
}

/** As it is where it cannot be decoded; then nothing has that name. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function tokenOf({ headers }: Exchange): string | undefined {
  return /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1];
}
