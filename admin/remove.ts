/** `/ai-server-remove`: takes a model out of the server's config, and deletes its files where the user wants that too. */
import { PROVIDER_ID } from "../config.ts";
import { formatOf, modelsIn, planRemoval, type Removal } from "../host/config/config-file.ts";
import type { Planned } from "../host/outcome.ts";
import { ServerError } from "../lib/errors.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import type { Question } from "../ui/question.ts";
import { type Call, isConfirmed, requireUser, serverFor } from "./call.ts";
import {
  ALREADY_SO,
  actsOf,
  applyAndReport,
  changePlaceOf,
  consequencesOf,
  NOT_CHANGED,
  plannedDiff,
  shownSteps,
} from "./change.ts";
import { type Host, openConfigHost, pathOf } from "./host-access.ts";
import { requireEnd } from "./models.ts";
import { offerToDelete, offerToDeleteDownloaded } from "./remove-files.ts";
import { readSubject, type Subject } from "./subject.ts";

/** A model that is to go, with its file as it is without the model. */
interface Gone extends Subject {
  readonly removal: Removal;
}

/** Takes a model out of the config, and asks then whether its files are to be deleted. */
export async function remove(call: Call): Promise<void> {
  const { aiServer, ctx, waiting } = call;
  requireUser(ctx);
  aiServer.refuseWhileChanging();
  const server = await serverFor(call);
  const host = await openConfigHost(server, waiting.signal);
  try {
    const subject = await readSubject(call, server, host);
    requireEnd(subject.rest);
    const what = `/ai-server-remove ${subject.id}`;
    await aiServer.exclusively(what, () => removeModel(call, server, host, subject), true);
  } finally {
    await host.close();
  }
}

async function removeModel(call: Call, server: ModelServer, host: Host, subject: Subject): Promise<void> {
  const { id, file, files, facts } = subject;
  const isWritten = modelsIn([file]).some(({ model }) => model === id);
  if (!isWritten && facts?.isDownloaded !== true) throw nothingWritten(subject, host);
  if (isWritten) {
    const others = files.filter((other) => other !== file);
    const removal = planRemoval(file.text, formatOf(file.name), id, others);
    if (!(await isTakenOut(call, server, host, { ...subject, removal }))) return;
    await offerToDelete(call, host, id, removal.files);
  }
  if (facts?.isDownloaded === true) await offerToDeleteDownloaded(call, server, id);
}

/** A model that a router finds in its folder, without a section: only its file could go. */
function nothingWritten({ id, file }: Subject, { config }: Host): ServerError {
  return new ServerError(
    `${pathOf(file, config)} has no section for ${id}: the router finds its file itself. Delete that file on the server, then run /ai-server-refresh.`,
    { link: "config file" },
  );
}

/** Asks, and makes the change. @returns whether it was made */
async function isTakenOut(call: Call, server: ModelServer, host: Host, gone: Gone): Promise<boolean> {
  const { ctx, waiting } = call;
  const { id, file, removal } = gone;
  const { config } = host;
  const place = await changePlaceOf(call, server, host);
  const { planChange } = await import("../host/change.ts");
  const removed = { id, mayStay: formatOf(file.name) === "ini" };
  const edit = { file, text: removal.text, removed };
  const planned = await planChange(place, edit, shownSteps(waiting, config));
  if (planned === undefined) {
    show(ctx, ALREADY_SO);
    return false;
  }
  const question = await questionFor(call, server, host, planned, gone);
  if (!(await isConfirmed(call, question, actsOf("Remove", planned)))) {
    show(ctx, NOT_CHANGED);
    return false;
  }
  return applyAndReport(call, place, planned, `${id} is no longer in the config.`);
}

async function questionFor(
  call: Call,
  server: ModelServer,
  { config }: Host,
  planned: Planned,
  { id, removal: { alsoChanged, notes, files } }: Gone,
): Promise<Question> {
  const again = planned.unloads.filter((other) => other !== id);
  return {
    title: `Remove ${id} from the config?`,
    consequences: [
      ...alsoChanged,
      ...(await consequencesOf(call, server, config, planned, again)),
      ...(isOwnModel(call, id) ? ["This session uses it: choose another model with /model afterwards."] : []),
      ...notes,
      ...(files.length > 0 ? ["You are asked about its files afterwards."] : []),
    ],
    diff: plannedDiff(planned, config),
  };
}

/** Whether the session's own model is this one. */
function isOwnModel({ ctx }: Call, id: string): boolean {
  return ctx.model?.provider === PROVIDER_ID && ctx.model.id === id;
}
