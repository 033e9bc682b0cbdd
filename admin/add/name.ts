/** What the user names a model of Hugging Face by. Pure. */
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { shown } from "../../host/config/refusals.ts";
import { isRepositoryId } from "../../huggingface/hub.ts";
import { ServerError } from "../../lib/errors.ts";

export interface Named {
  /** `owner/repository`. */
  repository: string;
  quantisation: string | undefined;
}

const EXAMPLE = "owner/repository or owner/repository:quantisation, such as unsloth/Qwen3-8B-GGUF:Q4_K_M";
/** A page of a repository, copied from the browser. */
const PAGE = /^https?:\/\/[^/]+\/([^/?#]+\/[^/?#]+)(?:[/?#].*)?$/;
const QUANTISATION = /^[A-Za-z0-9][A-Za-z0-9._+@=-]{0,200}$/;

/** @returns undefined for a text that is no repository, with or without a quantisation */
export function nameIn(text: string): Named | undefined {
  const plain = PAGE.exec(text.trim())?.[1] ?? text.trim();
  const [repository = "", quantisation, ...more] = plain.split(":");
  if (!isRepositoryId(repository) || more.length > 0) return undefined;
  if (quantisation !== undefined && !QUANTISATION.test(quantisation)) return undefined;
  return { repository, quantisation };
}

/**
 * Reads the argument of the command.
 *
 * @returns undefined without one, which only the terminal allows: it alone shows a search
 * @throws {ServerError}
 */
export function readName(
  argument: string,
  { mode }: Pick<ExtensionCommandContext, "mode">,
): Named | undefined {
  const named = nameIn(argument);
  if (named !== undefined) return named;
  if (argument.trim() !== "") {
    const search = mode === "tui" ? " Without an argument, /ai-server-add opens a search." : "";
    throw new ServerError(
      `${shown(argument.trim())} is not a repository name. Write it as ${EXAMPLE}.${search}`,
      {
        link: "configuration",
      },
    );
  }
  if (mode === "tui") return undefined;
  throw new ServerError(`Name a model on Hugging Face: ${EXAMPLE}. Only the terminal offers a search.`, {
    link: "configuration",
  });
}

export function labelOf({ repository, quantisation }: Named): string {
  return quantisation === undefined ? repository : `${repository}:${quantisation}`;
}
