import type { AutocompleteItem, AutocompleteProvider } from "@earendil-works/pi-tui";

/**
 * The arguments that a command takes; a value replaces the whole argument. It must settle as soon as `signal` aborts:
 * pi asks one after another.
 *
 * @param command its name without the slash
 * @param argument the text after the name and the one space, up to the cursor
 * @returns null if the command is not ours: pi's own completion is used then
 */
export type Complete = (
  command: string,
  argument: string,
  signal: AbortSignal,
) => Promise<readonly AutocompleteItem[] | null>;

/** A line with one of our commands, up to the cursor. */
interface Typed {
  head: string;
  command: string;
  /** Undefined while the cursor is still at the name's end. */
  argument: string | undefined;
  after: string;
}

interface Offered {
  value: string;
  typed: string;
}

/** pi reads a command from the first line only, and ends its name at a space. */
function commandLine(lines: readonly string[], cursorLine: number, cursorCol: number): Typed | undefined {
  const line = cursorLine === 0 ? (lines[0] ?? "") : "";
  const parts = /^(\s*\/(ai-server(?:-[a-z]+)?))(?: (.*))?$/s.exec(line.slice(0, cursorCol));
  if (parts?.[1] === undefined || parts[2] === undefined) return undefined;
  return { head: parts[1], command: parts[2], argument: parts[3], after: line.slice(cursorCol) };
}

/**
 * pi's completion with ours before it, for `ctx.ui.addAutocompleteProvider`. Own code: pi asks a command for its
 * arguments only while letters are typed, offers nothing on Tab right after `/name ` and files on Tab in an argument,
 * and takes an id with `@` or `/` for a path.
 *
 * @param current the completion so far; it still does everything but our arguments
 */
export function aiServerAutocomplete(
  current: AutocompleteProvider,
  complete: Complete,
): AutocompleteProvider {
  const offered = new WeakMap<AutocompleteItem, Offered>();

  const offer = (item: AutocompleteItem, typed: string, shown: AutocompleteItem): AutocompleteItem => {
    offered.set(shown, { value: item.value, typed });
    return shown;
  };

  const ask = async (command: string, argument: string, signal: AbortSignal) => {
    try {
      return await complete(command, argument, signal);
    } catch {
      // A rejection would end pi's completion for good: it chains the requests.
      return [];
    }
  };

  return {
    // pi writes to it, so that it cannot be a getter.
    ...(current.triggerCharacters === undefined ? {} : { triggerCharacters: current.triggerCharacters }),

    async getSuggestions(lines, cursorLine, cursorCol, options) {
      const delegate = () => current.getSuggestions(lines, cursorLine, cursorCol, options);
      const typed = commandLine(lines, cursorLine, cursorCol);
      if (typed === undefined) return delegate();
      const { command, argument, after } = typed;
      if (argument === undefined) {
        if (options.force || after !== "") return delegate();
        const [theirs, ours] = await Promise.all([delegate(), promptly(ask(command, "", options.signal))]);
        if (theirs === null || !theirs.items.some(({ value }) => value === command)) return theirs;
        const more = (ours ?? []).map((item) =>
          offer(item, "", { ...item, value: `${command} ${item.value}`, label: `… ${item.label}` }),
        );
        return { ...theirs, items: [...theirs.items, ...more] };
      }

      const items = await ask(command, argument, options.signal);
      if (items === null) return delegate();
      // Offering the text that is there already would make Enter only close the list; on Tab it adds the space.
      const isDone = items.length === 1 && items[0]?.value.trimEnd() === argument.trim();
      if (items.length === 0 || (isDone && !options.force)) return null;
      return {
        items: items.map((item) => offer(item, argument.trimStart(), { ...item })),
        prefix: argument.trimStart(),
      };
    },

    applyCompletion(lines, cursorLine, cursorCol, item, prefix) {
      const typed = commandLine(lines, cursorLine, cursorCol);
      if (typed === undefined) return current.applyCompletion(lines, cursorLine, cursorCol, item, prefix);
      const choice = offered.get(item);
      if (choice !== undefined && isStillMeant(choice, typed)) {
        const before = `${typed.head} ${choice.value}`;
        const rest = remainder(typed, choice.value);
        return {
          lines: [before + rest, ...lines.slice(1)],
          cursorLine,
          cursorCol: before.length,
        };
      }
      // Keys came faster than the suggestions: pi, which cuts by the length of the earlier prefix, would cut into the
      // command's name.
      const isStale = choice !== undefined || !(lines[0] ?? "").slice(0, cursorCol).endsWith(prefix);
      return isStale
        ? { lines, cursorLine, cursorCol }
        : current.applyCompletion(lines, cursorLine, cursorCol, item, prefix);
    },

    shouldTriggerFileCompletion(lines, cursorLine, cursorCol) {
      if (commandLine(lines, cursorLine, cursorCol)?.argument !== undefined) return true;
      return current.shouldTriggerFileCompletion?.(lines, cursorLine, cursorCol) ?? true;
    },
  };
}

/** The result if it needs no network: the list of commands does not wait for it. */
async function promptly<T>(work: Promise<T>): Promise<T | undefined> {
  return Promise.race([work, new Promise<undefined>((resolve) => setImmediate(resolve, undefined))]);
}

function isStillMeant({ value, typed }: Offered, { argument = "" }: Typed): boolean {
  const now = argument.trimStart();
  return now === typed || value.toLowerCase().startsWith(now.toLowerCase());
}

/** The text to keep after the value, without the rest of the word, or of the value, at the cursor. */
function remainder({ argument = "", after }: Typed, value: string): string {
  const typed = argument.trimStart();
  const missing = value.startsWith(typed) ? value.slice(typed.length).trimEnd() : "";
  let rest = /\S$/.test(typed) ? after.replace(/^\S+/, "") : after;
  if (missing !== "" && after.startsWith(missing) && /^(?:\s|$)/.test(after.slice(missing.length)))
    rest = after.slice(missing.length);
  if (value.endsWith(" ")) return rest.trimStart();
  return rest === "" || /^\s/.test(rest) ? rest : ` ${rest}`;
}
