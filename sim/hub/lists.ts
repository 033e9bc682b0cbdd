import type { Repository, StoredFile } from "./repository.ts";

const POINTER_BYTES = 135;
const MOST_RESULTS = 1000;

/** `GET /api/models?search=…&filter=gguf&sort=downloads&limit=…`: every word of the search is in the id. */
export function searchResults(repositories: readonly Repository[], query: URLSearchParams): unknown[] {
  const words = (query.get("search") ?? "").toLowerCase().split(/\s+/);
  const tags = query.getAll("filter").flatMap((each) => each.split(","));
  const found = repositories.filter(
    (each) =>
      !each.about.private &&
      words.every((word) => each.id.toLowerCase().includes(word)) &&
      tags.every((tag) => tagsOf(each).includes(tag)),
  );
  if (query.get("sort") === "downloads") found.sort((a, b) => downloadsOf(b) - downloadsOf(a));
  const limit = Number(query.get("limit") ?? MOST_RESULTS);
  return found.slice(0, limit).map((each) => summaryOf(each));
}

/** `GET /api/models/<id>`, also at a revision; with `?blobs=true` each file has its size and SHA-256. */
export async function details(repository: Repository, query: URLSearchParams): Promise<unknown> {
  const { about, id, commit } = repository;
  const files = await repository.files();
  const withBlobs = query.get("blobs") === "true" || query.get("blobs") === "1";
  return {
    ...summaryOf(repository),
    sha: commit,
    author: id.split("/")[0],
    gated: about.gated ?? false,
    disabled: false,
    lastModified: "2026-05-04T09:30:00.000Z",
    cardData: { pipeline_tag: "text-generation" },
    ...(about.gguf ? { gguf: about.gguf } : {}),
    siblings: files.map((file) => ({ rfilename: file.path, ...(withBlobs ? blobOf(file) : {}) })),
    usedStorage: files.reduce((sum, { size }) => sum + size, 0),
  };
}

/** `GET /api/models/<id>/refs`, with which llama.cpp finds the commit. */
export function refs({ commit }: Repository): unknown {
  return {
    branches: [{ name: "main", ref: "refs/heads/main", targetCommit: commit }],
    converts: [],
    tags: [],
  };
}

/** `GET /api/models/<id>/tree/<revision>[/<folder>]`, with `?recursive=true` what is in its folders too. */
export async function tree(repository: Repository, folder: string, isRecursive: boolean): Promise<unknown[]> {
  const inside = folder === "" ? "" : `${folder}/`;
  const entries = new Map<string, unknown>();
  for (const file of await repository.files()) {
    if (!file.path.startsWith(inside)) continue;
    const names = file.path.slice(inside.length).split("/");
    for (let depth = 1; depth < names.length && (isRecursive || depth === 1); depth++) {
      const path = inside + names.slice(0, depth).join("/");
      entries.set(path, { type: "directory", oid: "0".repeat(40), size: 0, path });
    }
    if (isRecursive || names.length === 1) entries.set(file.path, entryOf(file));
  }
  return [...entries.values()];
}

function summaryOf(repository: Repository) {
  const { about, id } = repository;
  return {
    _id: repository.commit.slice(0, 24),
    id,
    modelId: id,
    private: about.private ?? false,
    likes: Math.floor(downloadsOf(repository) / 1000),
    downloads: downloadsOf(repository),
    tags: tagsOf(repository),
    pipeline_tag: "text-generation",
    createdAt: "2026-05-01T12:00:00.000Z",
  };
}

function downloadsOf({ about }: Repository): number {
  return about.downloads ?? 0;
}

function tagsOf({ about }: Repository): string[] {
  const hasGguf = Object.keys(about.files).some((path) => path.endsWith(".gguf"));
  return [...(hasGguf ? ["gguf"] : ["safetensors"]), "text-generation", "region:us"];
}

function blobOf({ oid, size, sha256 }: StoredFile) {
  const lfs = sha256 === undefined ? {} : { lfs: { sha256, size, pointerSize: POINTER_BYTES } };
  return { blobId: oid, size, ...lfs };
}

function entryOf({ oid, size, path, sha256 }: StoredFile) {
  const lfs = sha256 === undefined ? {} : { lfs: { oid: sha256, size, pointerSize: POINTER_BYTES } };
  return { type: "file", oid, size, ...lfs, path };
}
