/** Names of devices: read from an argument, or made of this machine's own. Pure. */
import { shown } from "../../host/config/refusals.ts";
import { ServerError } from "../../lib/errors.ts";

const NAME = /^[a-z0-9][a-z0-9-]{0,39}$/;

/** @throws {ServerError} for what is no name */
export function deviceName(text: string): string {
  if (NAME.test(text)) return text;
  throw new ServerError(
    `${shown(text)} cannot be the name of a device. Use small letters, digits and hyphens, at most 40, such as phone or annas-tablet.`,
    { link: "configuration" },
  );
}

/** A name for this laptop, after the machine's own. */
export function suggestedName(hostname: string, taken: ReadonlySet<string>): string {
  const [first = ""] = hostname.toLowerCase().split(".");
  const plain =
    first
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 36) || "laptop";
  for (let count = 1; ; count++) {
    const name = count === 1 ? plain : `${plain}-${count}`;
    if (!taken.has(name)) return name;
  }
}
