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

/** Why no unit of the user's is looked at; undefined where there should be one. */
export function withoutUnit({ kind, host, facts }: Site): string | undefined {
  const { restartCommand, isServiceUnitSet } = host.config;
  if (restartCommand !== undefined)
    return "AI_SERVER_RESTART_COMMAND restarts the server, not systemctl --user";
  if (kind === "other" && !isServiceUnitSet)
    return "AI_SERVER_SERVICE_UNIT is not set to the unit of this server";
  return stateInMachine(facts.unit) === undefined ? undefined : "the server is a unit of the whole machine";
}

/** The state of the machine's unit of that name, where the user has none. */
export function stateInMachine({ problem, systemUnit }: MachineFacts["unit"]): string | undefined {
  return problem?.code === "no-unit" ? systemUnit : undefined;
}

export function hasConfig({ kind }: Site): boolean {
  return kind === undefined || hasConfigFile(kind);
}

/** Whether llama-swap is what the unit runs, as far as it is known. */
export function isLlamaSwap({ kind, host }: Site): boolean {
  return kind === "llama-swap" || (kind === undefined && host.config.serviceUnit.startsWith("llama-swap"));
}
