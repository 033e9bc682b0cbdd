/** What Tab offers after `/ai-server-devices`. Pure. */
import type { AutocompleteItem } from "@earendil-works/pi-tui";

const SUBCOMMANDS: readonly (readonly [name: string, description: string])[] = [
  ["list", "the devices of the CA, and those that were revoked"],
  ["enrol", "a certificate for this laptop, or a new one: [<name>]"],
  ["add", "a certificate for a phone, tablet or browser: <name>"],
  ["revoke", "takes a device off the list: <name>"],
];

/** What follows `/ai-server-devices`. @param names on the list, as a command read it last */
export function completeDevices(names: readonly string[], argument: string): AutocompleteItem[] {
  const [, word = "", gap = "", rest = ""] = /^\s*(\S*)(\s*)(.*)$/s.exec(argument) ?? [];
  if (gap === "") {
    return SUBCOMMANDS.filter(([name]) => name.startsWith(word)).map(([name, description]) => ({
      value: name === "list" || name === "enrol" ? name : `${name} `,
      label: name,
      description,
    }));
  }
  if (word !== "revoke") return [];
  return names
    .filter((name) => name.startsWith(rest.trimEnd()))
    .map((name) => ({ value: `revoke ${name}`, label: name, description: "device" }));
}
