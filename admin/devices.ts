/** `/ai-server-devices`: the certificates of the CA, which devices have them, and its subcommands. */
import leven from "leven";
import { serialOf } from "../host/ca/devices.ts";
import { ServerError } from "../lib/errors.ts";
import { show, widthOf, withResults } from "../ui/output.ts";
import { plainLines, type Result } from "../ui/result.ts";
import { whileWaiting } from "../ui/wait.ts";
import { inWholeTerminal } from "../ui/whole-terminal.ts";
import { type Call, serverFor } from "./call.ts";
import { add } from "./devices/add.ts";
import { listOf, openCa, whereIs } from "./devices/ca-access.ts";
import { enrol } from "./devices/enrol.ts";
import { DeviceListView, type ListAction, type ListContent, type ListPlace } from "./devices/list-view.ts";
import { revoke } from "./devices/revoke.ts";
import { listResult } from "./devices/words.ts";
import { faultText } from "./report.ts";

type Subcommand = (call: Call, argument: string) => Promise<void>;

const SUBCOMMANDS: Readonly<Record<string, Subcommand>> = { list, enrol, add, revoke };

/** The list in the terminal, or what the first word of the argument names. */
export async function devices(call: Call): Promise<void> {
  const [, word = "", rest = ""] = /^\s*(\S*)\s*(.*?)\s*$/s.exec(call.argument) ?? [];
  if (word === "") return call.ctx.mode === "tui" ? openList(call) : list(call, "");
  const subcommand = Object.hasOwn(SUBCOMMANDS, word) ? SUBCOMMANDS[word] : undefined;
  if (subcommand === undefined) throw unknownSubcommand(word);
  await subcommand(call, rest);
}

function unknownSubcommand(word: string): ServerError {
  const names = Object.keys(SUBCOMMANDS);
  const nearest = names.reduce((a, b) => (leven(word, b) < leven(word, a) ? b : a));
  const shown = word.length > 40 ? `${word.slice(0, 40)}…` : word;
  return new ServerError(
    `/ai-server-devices knows ${names.join(", ")}, and not "${shown}". Did you mean ${nearest}?`,
    { link: "configuration" },
  );
}

async function contentNow(call: Call): Promise<ListContent> {
  const { config } = await serverFor(call);
  const ca = await openCa(config);
  try {
    const found = await listOf(call, ca);
    const { certificateInUse } = await import("../devices/pair.ts");
    const own = await certificateInUse(config);
    return { list: found, own: own && serialOf(own), where: whereIs(ca), now: Date.now() };
  } finally {
    await ca.close();
  }
}

async function list(call: Call, argument: string): Promise<void> {
  if (argument !== "") {
    throw new ServerError("/ai-server-devices list takes no argument.", { link: "configuration" });
  }
  const { list: found, own, where, now } = await contentNow(call);
  show(call.ctx, listResult(found, own, where, now));
}

/** The list until the user leaves it: closed for each action, and read again after it. */
async function openList(call: Call): Promise<void> {
  const place: ListPlace = { selected: undefined, message: undefined };
  const take = (result: Result): void => {
    place.message = { level: result.level, text: plainLines(result, widthOf(call.ctx)).join("\n") };
    // It may be longer than the list has room for, and worth reading afterwards.
    show(call.ctx, result);
  };
  const inList = { ...call, ctx: withResults(call.ctx, take) };
  let content = await contentNow(call);
  while (!call.ended.aborted) {
    const action = await call.waiting.ask(() => shown(call, content, place));
    if (action === undefined || action.kind === "leave") return;
    place.message = undefined;
    await call.waiting.ask(() => carriedOut(inList, action));
    content = await contentNow(call);
  }
}

/** With a wait of its own, so that Escape ends the action and not the list. */
async function carriedOut(call: Call, action: ListAction): Promise<void> {
  const { ctx, ended } = call;
  await whileWaiting(ctx, ended, async (waiting) => {
    const own = { ...call, waiting };
    try {
      if (action.kind === "enrol") await enrol(own, "");
      else if (action.kind === "add") await add(own, action.name);
      else if (action.kind === "revoke") await revoke(own, action.name);
      else if (action.kind === "reload") await reload(own);
    } catch (error) {
      if (!waiting.signal.aborted) show(ctx, faultText(error), "error");
    }
  });
}

async function reload(call: Call): Promise<void> {
  const { config } = await serverFor(call);
  const ca = await openCa(config);
  try {
    call.waiting.say("Making Caddy read the list");
    await ca.reload(call.waiting.signal);
    show(call.ctx, "Caddy has read the list of devices.");
  } finally {
    await ca.close();
  }
}

async function shown(call: Call, content: ListContent, place: ListPlace): Promise<ListAction | undefined> {
  const { ctx, ended } = call;
  return inWholeTerminal<ListAction>(
    ctx,
    ended,
    (terminal, act) => new DeviceListView({ ...terminal, content, place, act }),
  );
}
