/** One llama-server with one model, which is loaded for as long as the server runs. */

import { ServerError } from "../../../lib/errors.ts";
import { flag, record } from "../../../lib/json.ts";
import { type Access, optionalJson } from "../../http/access.ts";
import { parseProps } from "../../models/models.ts";
import { type Backend, versionAt } from "../backend.ts";
import { parseOwnModel, parseSlots } from "./list.ts";
import { COUNT_PATH, requestCount, requestThinkingEnd, THINKING_PATH } from "./requests.ts";

export function llamaServer(access: Access): Backend {
  const { http, config } = access;
  const name = "llama-server";
  return {
    kind: "llama-server",
    name,

    async listed(models) {
      return parseOwnModel(models);
    },

    /** Its list has the model whether it loads (503 then) or sleeps. Reading `/props` does not wake it. */
    async running(limits, models) {
      try {
        const [list, props] = await Promise.all([
          models ?? http.json(config.modelsPath, limits),
          optionalJson(http, "/props", limits),
        ]);
        const isAsleep = flag(record(props)?.is_sleeping) ?? false;
        return parseOwnModel(list).map(({ id }) => ({ id, state: "ready", isAsleep }));
      } catch (error) {
        // While it loads it does not name the model.
        if (error instanceof ServerError && error.status === 503) return [];
        throw error;
      }
    },

    async live(_, limits) {
      return parseProps(await http.json("/props", limits));
    },

    async fileFacts(_, limits) {
      return parseOwnModel(await http.json(config.modelsPath, limits))[0]?.declared;
    },

    async slots(_, limits) {
      return parseSlots(await optionalJson(http, "/slots", limits));
    },

    promptTokens: (_, request, limits) => requestCount(access, COUNT_PATH, request, limits),

    endThinking: (id, answer, signal) => requestThinkingEnd(access, THINKING_PATH, id, answer, signal),

    async version(signal) {
      return { name, version: await versionAt(access, "/props", "build_info", signal) };
    },
  };
}
