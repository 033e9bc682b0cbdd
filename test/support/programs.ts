import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, test } from "vitest";

/** The Debian package that brings each program which a real suite may need. */
const DEBIAN_PACKAGES = {
  caddy: "caddy",
  certutil: "libnss3-tools",
  curl: "curl",
  fish: "fish",
  openssl: "openssl",
  pk12util: "libnss3-tools",
  ssh: "openssh-client",
  "ssh-copy-id": "openssh-client",
  sshd: "openssh-server",
  systemctl: "systemd",
  "systemd-analyze": "systemd",
  tmux: "tmux",
  visudo: "sudo",
  zbarimg: "zbar-tools",
  zsh: "zsh",
} as const;

export type Program = keyof typeof DEBIAN_PACKAGES;

/** PATH, and where Debian keeps servers, which are not on a user's PATH. */
const EVERYWHERE = [process.env.PATH ?? "", "/usr/sbin", "/sbin"].join(delimiter);

/** True when `name` is an executable file in one of the folders of PATH. */
export function isInstalled(name: string, path = EVERYWHERE): boolean {
  return path.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder || ".", name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** What to install when one of these programs is missing, or undefined when all are there. */
export function missingProgram(...programs: readonly Program[]): string | undefined {
  const missing = programs.find((program) => !isInstalled(program));
  return missing && `${missing} is not installed; on Debian: apt-get install ${DEBIAN_PACKAGES[missing]}`;
}

/**
 * `in turn`: one test after the other. `beside`: so too, but at the same time as the suites next to it that say the same.
 * `at once`: several of its tests at a time, and of those suites' as well; they share nothing.
 */
export type Pace = "in turn" | "beside" | "at once";

/**
 * A suite on real parts. Where `problem` says that one is missing the suite is skipped and a line says what to
 * do; in CI, where nothing may be skipped unseen, it fails instead.
 */
export function realSuite(
  problem: string | undefined,
  name: string,
  body: () => void,
  pace: Pace = "in turn",
): void {
  if (problem === undefined) {
    const inOrder = (): unknown => describe("in order", { concurrent: false }, body);
    describe(name, { concurrent: pace !== "in turn" }, pace === "beside" ? inOrder : body);
  } else if (process.env.CI) {
    test(name, () => {
      throw new Error(`In CI nothing is skipped: ${problem}`);
    });
  } else {
    process.stdout.write(`Skipped: ${name}: ${problem}\n`);
    describe.skip(name, body);
  }
}
