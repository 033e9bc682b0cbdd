/** The models in a repository, from the names of its files. Pure. */

/** A file of a repository at one commit. */
export interface HubFile {
  /** In the repository; each part is a plain name. */
  readonly path: string;
  readonly bytes: number;
  /** Of its content, in lower-case hexadecimal. */
  readonly sha256: string;
  readonly url: string;
}

/** One model of a repository: a file, or all of its parts. */
export interface Quantisation {
  /** What stands after the colon in `owner/repository:name`. */
  readonly name: string;
  /** In their order; llama-server takes the first. */
  readonly files: readonly HubFile[];
  readonly bytes: number;
}

export interface Grouped {
  /** The smallest first. */
  readonly quantisations: readonly Quantisation[];
  /** The encoders for images and sound (`mmproj`), the most usual first. */
  readonly projectors: readonly HubFile[];
  /** Names of models with missing parts. */
  readonly incomplete: readonly string[];
}

/** As llama.cpp's own quantisations are named, at the end of a name; `UD` are those of Unsloth. */
const QUANTISATION =
  /(?:^|[-_.])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d(?:_[A-Z0-9]+)+|BF16|FP?16|FP?32|(?:MX|NV)FP\d(?:_[A-Z0-9]+)*))$/i;
const SHARD = /^(.*)-(\d{5})-of-(\d{5})$/;
const EXTENSION = /\.gguf$/i;

/** What llama.cpp does not take for a model (`gguf_filename_is_model` in its common/download.cpp). */
const SIDECAR = /mmproj|imatrix|(?:^|[-_.])(?:mtp|eagle3|dflash|dspark)-/i;

interface Group {
  /** Path without part and ending. */
  readonly stem: string;
  readonly parts: Map<number, HubFile>;
  count: number;
}

/** Groups the GGUF files of a repository; others are left out. */
export function groupFiles(files: readonly HubFile[]): Grouped {
  const ggufs = files.filter(({ path }) => EXTENSION.test(path));
  const projectors = ggufs
    .filter(({ path }) => /mmproj/i.test(nameOf(path)))
    .sort((a, b) => rankOf(a) - rankOf(b) || compare(a.path, b.path));
  const groups = groupParts(ggufs.filter(({ path }) => !SIDECAR.test(nameOf(path))));
  const named = groups.map((group) => ({ group, name: quantisationOf(group.stem) ?? nameOf(group.stem) }));
  const uses = new Map<string, number>();
  for (const { name } of named) uses.set(name, (uses.get(name) ?? 0) + 1);
  // Two models of the same quantisation differ by their files' names.
  const titled = named.map(({ group, name }) =>
    uses.get(name) === 1 ? { group, name } : { group, name: group.stem.replaceAll("/", "-") },
  );
  const isWhole = ({ parts, count }: Group): boolean => parts.size === count;
  return {
    quantisations: titled
      .filter(({ group }) => isWhole(group))
      .map(({ group, name }) => quantisation(group, name))
      .sort((a, b) => a.bytes - b.bytes || compare(a.name, b.name)),
    projectors,
    incomplete: titled.filter(({ group }) => !isWhole(group)).map(({ name }) => name),
  };
}

/** The quantisation that a user means, in upper or lower case. */
export function findQuantisation(
  quantisations: readonly Quantisation[],
  typed: string,
): Quantisation | undefined {
  return quantisations.find(({ name }) => isSame(name, typed));
}

function groupParts(files: readonly HubFile[]): Group[] {
  const groups = new Map<string, Group>();
  for (const file of files) {
    const whole = file.path.replace(EXTENSION, "");
    const [, stem = whole, part = "1", count = "1"] = SHARD.exec(whole) ?? [];
    const key = `${stem} ${Number(count)}`;
    const group = groups.get(key) ?? { stem, parts: new Map(), count: Number(count) };
    group.parts.set(Number(part), file);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function quantisation({ parts }: Group, name: string): Quantisation {
  const files = [...parts].sort(([a], [b]) => a - b).map(([, file]) => file);
  return { name, files, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** At the end of the file's name, or of its folder's: `Q4_K_M/model-00001-of-00002.gguf`. */
function quantisationOf(stem: string): string | undefined {
  const [name = "", folder = ""] = stem.split("/").reverse();
  return (QUANTISATION.exec(name) ?? QUANTISATION.exec(folder))?.[1]?.toUpperCase();
}

/** A projector of 16 bits is what most use; one of 32 is twice as large and no better. */
function rankOf({ path }: HubFile): number {
  const rank = ["F16", "BF16", "Q8_0"].indexOf(quantisationOf(path.replace(EXTENSION, "")) ?? "");
  return rank < 0 ? 3 : rank;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function isSame(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1;
}
