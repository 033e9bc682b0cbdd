/** What starts a model, with everything resolved that the config itself resolves. Pure. */
import type { Program } from "./programs.ts";
import { type ServerCommand, startedBy } from "./server-arguments.ts";
import { allFlags } from "./server-flags.ts";

export interface ModelStart {
  /** The program as it is named: a path, or a name to be found on the path. */
  readonly path: string;
  /** Its name in a sentence. */
  readonly name: string;
  readonly kind: Program["kind"];
  /** Where it runs, if not as a process of this machine. */
  readonly place: ServerCommand["place"];
  /** Whether a shell reads the arguments, and replaces `$NAME` in them. */
  readonly isInScript: boolean;
  /** In order and without dashes, each with the word after it where that can be its value. */
  readonly flags: readonly { readonly name: string; readonly value: string | undefined }[];
  /** `NAME=value`, the last of equal names counts. */
  readonly environment: readonly string[];
}

/** @param environment what the config sets for the model beside its command, as `NAME=value` */
export function startOfServer(server: ServerCommand, environment: readonly string[]): ModelStart {
  const { path, name, program, place, isInScript, assignments } = server;
  return {
    path,
    name,
    kind: program.kind,
    place,
    isInScript,
    flags: allFlags(server).map((flag) => ({ ...flag, name: flag.name.replace(/^-+/, "") })),
    environment: [...(place === undefined ? environment : []), ...assignments.map(({ text }) => text)],
  };
}

/**
 * The start that a command line shows, as `/running` has it.
 *
 * @param environment of the same model, from its config
 * @returns undefined where the line does not show what it starts
 */
export function startOfCommand(commandLine: string, environment: readonly string[]): ModelStart | undefined {
  const server = startedBy(commandLine);
  return server && startOfServer(server, environment);
}
