/** The lines of a user unit, as `systemctl --user cat` prints its files, and which of them are wrong. Pure. */

export interface UnitLine {
  /** Of the file, as systemd prints it. */
  path: string;
  section: string;
  key: string;
  value: string;
}

/** A line that does nothing, or that keeps a user unit from starting. */
export interface WrongLine {
  line: UnitLine;
  why: "unknown" | "account" | "target" | "wanted";
}

/** Settings that no systemd knows and that are often copied; systemd-analyze finds all others. */
const NO_SETTINGS = new Set(["LimitMEMLOCK_BYTES"]);

/** Targets of the machine's that a user's systemd does not have. */
const MACHINE_TARGETS = new Set(["network.target", "network-online.target", "multi-user.target"]);

const ORDERING = new Set(["After", "Before", "Wants", "Requires", "Requisite", "BindsTo", "PartOf"]);

/** @param text of `systemctl cat`: each file under a line `# PATH` */
export function unitLines(text: string): UnitLine[] {
  let path = "";
  let section = "";
  return text
    .replace(/\\\n/g, " ")
    .split("\n")
    .flatMap((raw) => {
      const line = raw.trim();
      const file = /^# (\/.*)$/.exec(line)?.[1];
      if (file !== undefined) {
        path = file;
        section = "";
      }
      section = /^\[([^\]]+)\]$/.exec(line)?.[1] ?? section;
      const [found, key = "", value = ""] = /^([A-Za-z][\w-]*)\s*=\s*(.*)$/.exec(line) ?? [];
      return found === undefined ? [] : [{ path, section, key, value }];
    });
}

/**
 * The keys that systemd says it ignores: "Unknown key 'X' in section [Service], ignoring." since v246, and "Unknown
 * lvalue 'X' in section 'Service', ignoring" before.
 */
export function unknownKeys(said: string): { section: string; key: string }[] {
  const pattern = /Unknown (?:lvalue|key(?: name)?) '([^']+)' in section (?:\[([^\]]+)\]|'([^']+)')/g;
  return [...said.matchAll(pattern)].map(([, key = "", section, older]) => ({
    section: section ?? older ?? "",
    key,
  }));
}

/** @param said by systemd-analyze, or what the journal has of the unit */
export function wrongLines(lines: readonly UnitLine[], said: string): WrongLine[] {
  const unknown = unknownKeys(said);
  return lines.flatMap((line): WrongLine[] => {
    const why = whatIsWrong(line, unknown);
    return why === undefined ? [] : [{ line, why }];
  });
}

function whatIsWrong(
  { section, key, value }: UnitLine,
  unknown: readonly { section: string; key: string }[],
): WrongLine["why"] | undefined {
  const isUnknown = unknown.some((one) => one.key === key && one.section === section);
  if (isUnknown || NO_SETTINGS.has(key)) return "unknown";
  if (value === "") return undefined;
  if (section === "Service" && (key === "User" || key === "Group")) return "account";
  const targets = value.split(/\s+/);
  if (section === "Unit" && ORDERING.has(key) && targets.some((target) => MACHINE_TARGETS.has(target)))
    return "target";
  const isInstall = section === "Install" && (key === "WantedBy" || key === "RequiredBy");
  if (isInstall && targets.every((target) => MACHINE_TARGETS.has(target))) return "wanted";
  return undefined;
}
