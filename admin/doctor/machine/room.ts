/** Disks, backups, the lock and the journal. */
import type { Room } from "../../../host/examine/facts.ts";
import { binarySize, counted } from "../../../lib/figures.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import { hasConfig, type Site, withoutUnit } from "./site.ts";

const GIB = 2 ** 30;

/** Below these a disk is short; a share of a large disk counts up to `most` alone. */
interface Limits {
  share: number;
  most: number;
  short: number;
  full: number;
}

/** A model has tens of GiB, a config some KiB. */
const OF_MODELS: Limits = { share: 0.05, most: 100 * GIB, short: 10 * GIB, full: GIB };
const OF_CONFIG: Limits = { share: 0.05, most: GIB, short: GIB / 4, full: GIB / 32 };

export function* disks(site: Site): Iterable<Finding> {
  const { modelsRoom, configRoom, configProblem } = site.facts;
  const { modelsDir } = site.host.config;
  yield disk("disk-models", "Disk of the models", modelsDir, modelsRoom, OF_MODELS);
  if (!hasConfig(site) || configProblem !== undefined) return;
  if (configRoom !== undefined && configRoom.mount === modelsRoom?.mount) {
    yield ok("disk-config", "Disk of the config", `the same as that of the models (${configRoom.mount})`);
    return;
  }
  yield disk("disk-config", "Disk of the config", "the config's folder", configRoom, OF_CONFIG);
}

function disk(
  check: string,
  subject: string,
  folder: string,
  room: Room | undefined,
  limits: Limits,
): Finding {
  if (room === undefined) return unchecked(check, subject, `df does not report the room in ${folder}`);
  const { totalBytes, freeBytes, mount } = room;
  const seen = `${binarySize(freeBytes)} of ${binarySize(totalBytes)} free on ${mount}`;
  const next = "Make room there: /ai-server-remove deletes the files of a model that you no longer use.";
  if (freeBytes < limits.full) return fault(check, subject, seen, next);
  const isShort = freeBytes < Math.max(limits.short, Math.min(limits.share * totalBytes, limits.most));
  return isShort ? warning(check, subject, seen, next) : ok(check, subject, seen);
}

export function* writable(site: Site): Iterable<Finding> {
  const { configProblem, isConfigReadOnly, isFolderReadOnly, backups } = site.facts;
  const { presetPath } = site.host.config;
  if (!hasConfig(site)) return;
  if (configProblem !== undefined) {
    yield unchecked("backups", "Backups", `the config was not found or not readable (${presetPath})`);
    return;
  }
  const [check, subject] = ["config-writable", "Config's folder"];
  if (isConfigReadOnly || isFolderReadOnly) {
    const what = isFolderReadOnly ? "the folder of" : "";
    const seen = [site.facts.user, "may not write to", what, presetPath].filter(Boolean).join(" ");
    const next =
      "Give that user the right, or make changes where the file comes from; pi can change no context size and add no model.";
    yield warning(check, subject, seen, next);
  } else {
    yield ok(check, subject, "the file and its backups can be written");
  }
  yield ok("backups", "Backups", backupWords(backups));
}

function backupWords({ count, newest }: { count: number; newest: string }): string {
  const [, date = "", hour = "", minute = ""] = /^(\d{8})T(\d\d)(\d\d)/.exec(newest) ?? [];
  if (count === 0 || date === "") return "none yet; the first change makes one";
  const day = date.replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3");
  return `${counted(count, "backup")}, the newest from ${day} ${hour}:${minute} UTC`;
}

export function* lock(site: Site): Iterable<Finding> {
  if (!hasConfig(site)) return;
  const how = site.facts.hasFlock ? "flock" : "a link that names its process, since there is no flock";
  yield ok("lock", "Lock of the config", how);
}

/** Storage=volatile, or auto without /var/log/journal: users have no journal of their own then (journald.conf(5)). */
const NO_FILES = /No journal files were (?:found|opened)/;

export function* journal(site: Site): Iterable<Finding> {
  const [check, subject] = ["journal", "Journal"];
  const { journal: read, user } = site.facts;
  const { serviceUnit } = site.host.config;
  const why = withoutUnit(site);
  if (why !== undefined) {
    yield unchecked(check, subject, `${why}; its journal is elsewhere`);
  } else if (read === undefined) {
    yield unchecked(check, subject, "there is no journalctl");
  } else if (NO_FILES.test(read.said) || !read.isReadable) {
    const seen = NO_FILES.test(read.said)
      ? `there is none that ${user} can read, so /ai-server-logs shows nothing of the unit`
      : `journalctl --user fails: ${read.said}`;
    const next =
      "Let systemd keep it on disk. On the server, as root, run: mkdir -p /var/log/journal && systemctl restart systemd-journald && journalctl --flush";
    yield warning(check, subject, seen, next);
  } else {
    // A unit that has run for long may have nothing left in it.
    const isEmpty = /^-- No entries --$/m.test(read.said);
    yield isEmpty
      ? unchecked(check, subject, `nothing of ${serviceUnit} is in what ${user} can read of it`)
      : ok(check, subject, "can be read");
  }
}
