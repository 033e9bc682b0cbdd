import { createHash } from "node:crypto";
import { type HubContent, sha256Of, sizeOf } from "./content.ts";

/** One repository as a test or the demo describes it. */
export interface HubRepository {
  /** By path in the repository; those that end in `.gguf` are stored as LFS objects, as on Hugging Face. */
  files: Readonly<Record<string, HubContent>>;
  /** Of the last month. Default 0. */
  downloads?: number;
  /** Whether its files need consent: `auto` gives it at once, `manual` after a look. Its lists are public. */
  gated?: "auto" | "manual";
  /** The tokens that may read the files of a gated or private repository. */
  readers?: readonly string[];
  /** Unknown to everyone but its readers. */
  private?: boolean;
  /** What Hugging Face has read in the head of a GGUF file. */
  gguf?: { architecture?: string; context_length?: number; total?: number };
}

/** One file with what the lists say of it. */
export interface StoredFile {
  path: string;
  size: number;
  content: HubContent;
  /** What git calls the file, or the pointer to it: 40 hexadecimal digits. */
  oid: string;
  /** Of an LFS object. */
  sha256: string | undefined;
}

/** A repository at one commit; a file's hash is computed once, when it is first asked for. */
export class Repository {
  readonly id: string;
  readonly about: HubRepository;
  readonly commit: string;
  readonly #files = new Map<string, Promise<StoredFile>>();

  constructor(id: string, about: HubRepository) {
    this.id = id;
    this.about = about;
    const hash = createHash("sha1").update(id);
    for (const [path, content] of Object.entries(about.files)) {
      const isBytes = typeof content === "string" || content instanceof Uint8Array;
      hash.update(`\n${path}\n`).update(isBytes ? content : JSON.stringify(content));
    }
    this.commit = hash.digest("hex");
  }

  files(): Promise<StoredFile[]> {
    const paths = Object.keys(this.about.files).sort();
    return Promise.all(paths.flatMap((path) => this.file(path) ?? []));
  }

  file(path: string): Promise<StoredFile> | undefined {
    if (!Object.hasOwn(this.about.files, path)) return undefined;
    const content = this.about.files[path] ?? "";
    const known = this.#files.get(path) ?? store(path, content);
    this.#files.set(path, known);
    return known;
  }

  /** What stands between the bearer of `token` and the files. */
  refusal(token: string | undefined): "unknown" | "no token" | "not in the list" | undefined {
    const { gated, readers = [] } = this.about;
    if (token !== undefined && readers.includes(token)) return undefined;
    if (this.about.private) return "unknown";
    if (gated === undefined) return undefined;
    return token === undefined ? "no token" : "not in the list";
  }
}

async function store(path: string, content: HubContent): Promise<StoredFile> {
  const size = sizeOf(content);
  if (!path.endsWith(".gguf"))
    return { path, size, content, oid: sha1(`${path} ${size}`), sha256: undefined };
  const sha256 = await sha256Of(content);
  return { path, size, content, oid: sha1(`pointer to ${sha256}`), sha256 };
}

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}
