/** What the checks of the machine judge. */
import type { MachineFacts } from "../../../host/examine/facts.ts";
import { type BackendKind, hasConfigFile } from "../../../server/kinds/backend.ts";
import type { Host } from "../../host-access.ts";

export interface Site {
  readonly facts: MachineFacts;
  readonly host: Host;
  /** Undefined where the server has never answered. */
  readonly kind: BackendKind | undefined;
  readonly signal: AbortSignal;
}

/** How a sentence says where a command is to be run. */
export function onServer({ facts, host }: Site): string {
  return host.config.sshHost === "local" ? "Run here" : `On the server, as ${facts.user}, run`;
}

export function hasConfig({ kind }: Site): boolean {
  return kind === undefined || hasConfigFile(kind);
}

/** Whether llama-swap is what the unit runs, as far as it is known. */
export function isLlamaSwap({ kind, host }: Site): boolean {
  return kind === "llama-swap" || (kind === undefined && host.config.serviceUnit.startsWith("llama-swap"));
}
