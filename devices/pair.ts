/** The certificate and key of this laptop on the disk: put beside those in use, tried there, and only then in their place. */
import { X509Certificate } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ServerAddress } from "../config.ts";
import { codeOf, ServerError } from "../lib/errors.ts";

type Files = Pick<ServerAddress, "ca" | "clientCert" | "clientKey">;

const STAGED = ".ai-server-new-";
const LEFT_AFTER_MS = 3_600_000;

/** A new pair that is whole, in a folder beside those in use. */
export interface StagedPair {
  readonly folder: string;
  /** The configuration with which it is tried. */
  readonly files: Files;
}

/** What `takeOver` has replaced. */
export interface Replaced {
  /** Paths of the backups; empty where there was nothing. */
  readonly backups: readonly string[];
}

/** The serial number of the certificate in use, as node spells it; undefined where there is none that can be read. */
export async function certificateInUse({ clientCert }: Files): Promise<X509Certificate | undefined> {
  return readFile(clientCert)
    .then((pem) => new X509Certificate(pem))
    .catch(() => undefined);
}

/**
 * Writes a pair, and the CA where there is none yet, beside the files in use. What an earlier run has left is removed.
 *
 * @throws {ServerError} where it cannot be written
 */
export async function stage(
  files: Files,
  pem: { certificate: string; key: string; authority: string },
): Promise<StagedPair> {
  const home = dirname(files.clientKey);
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await removeStaged(home);
    const folder = await mkdtemp(join(home, STAGED));
    const staged = {
      ca: await stagedAuthority(files.ca, folder, pem.authority),
      clientCert: join(folder, basename(files.clientCert)),
      clientKey: join(folder, `key-${basename(files.clientKey)}`),
    };
    await writeNew(staged.clientKey, pem.key);
    await writeNew(staged.clientCert, pem.certificate);
    return { folder, files: staged };
  } catch (error) {
    throw new ServerError(
      `The new certificate cannot be written in ${home} (${codeOf(error) || "unknown reason"}). Check the folder's owner, mode and space; nothing was replaced.`,
      { link: "certificates", cause: error },
    );
  }
}

async function stagedAuthority(path: string, folder: string, authority: string): Promise<string> {
  if (path === "system" || (await exists(path))) return path;
  const staged = join(folder, `ca-${basename(path)}`);
  await writeNew(staged, authority);
  return staged;
}

/**
 * Puts a staged pair in the place of the files in use, which stay as backups. The key goes first: a run that is cut off
 * between the two leaves files that do not belong together, and the next one replaces them.
 *
 * @param stamp ends the backups' names
 */
export async function takeOver(files: Files, staged: StagedPair, stamp: string): Promise<Replaced> {
  const backups: string[] = [];
  const moved: string[] = [];
  try {
    for (const path of [files.clientKey, files.clientCert]) {
      if (!(await exists(path))) continue;
      const backup = `${path}.bak-${stamp}`;
      await copyFile(path, backup, constants.COPYFILE_EXCL);
      if (path === files.clientKey) await chmod(backup, 0o600);
      backups.push(backup);
    }
    await mkdir(dirname(files.clientCert), { recursive: true, mode: 0o700 });
    if (staged.files.ca !== files.ca) await rename(staged.files.ca, files.ca);
    for (const name of ["clientKey", "clientCert"] as const) {
      await rename(staged.files[name], files[name]);
      moved.push(files[name]);
    }
  } catch (error) {
    for (const path of moved)
      await copyFile(`${path}.bak-${stamp}`, path).catch(() => rm(path, { force: true }));
    throw new ServerError(
      `The new certificate could not be put into its place, ${dirname(files.clientCert)} (${codeOf(error) || "unknown reason"}). The files there are as they were.`,
      { link: "certificates", cause: error },
    );
  }
  await rm(staged.folder, { recursive: true, force: true });
  return { backups };
}

export async function discard({ folder }: StagedPair): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/** The backups of a pair with this serial number: a certificate that is refused can be tried with them. */
export async function backedUpPair(
  files: Files,
  serial: string,
  serialOf: (certificate: X509Certificate) => string,
): Promise<Files | undefined> {
  const home = dirname(files.clientCert);
  const name = basename(files.clientCert);
  for (const found of await readdir(home).catch(() => [])) {
    const stamp = found.startsWith(`${name}.bak-`) ? found.slice(`${name}.bak-`.length) : undefined;
    if (stamp === undefined) continue;
    const pair = {
      ca: files.ca,
      clientCert: join(home, found),
      clientKey: `${files.clientKey}.bak-${stamp}`,
    };
    const certificate = await certificateInUse(pair);
    if (certificate !== undefined && serialOf(certificate) === serial && (await exists(pair.clientKey)))
      return pair;
  }
  return undefined;
}

/**
 * Writes a file that only its owner may read; one of the same name is never overwritten.
 *
 * @throws the error of the system
 */
export async function writeNew(path: string, content: string | Buffer): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Another pi may be at work with a young one. */
async function removeStaged(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    const path = join(home, name);
    const found = name.startsWith(STAGED) ? await stat(path).catch(() => undefined) : undefined;
    if (found !== undefined && Date.now() - found.mtimeMs > LEFT_AFTER_MS)
      await rm(path, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
