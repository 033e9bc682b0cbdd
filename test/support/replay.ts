import { createServer, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Answer, give, recordedAnswer } from "./canned.ts";
import { listen } from "./network.ts";
import { drained } from "./wire.ts";

export type SwapVersion = "v170" | "v217" | "head";

/** The model that takes four seconds to load in the recordings; here it is loaded at once. */
export const REPLAYED_MODEL = "slow-start";

/** A server that gives the recorded answers of one llama-swap, as its one model is loaded and unloaded. */
export interface Replay {
  url: string;
  env: Record<string, string>;
  /** `GET /running` and the like, in order of arrival. */
  asked(): string[];
  /** How often a request came that makes a llama-swap load a model that is not loaded. */
  loads(): number;
  close(): Promise<void>;
}

/** Starts it on 127.0.0.1, without TLS. */
export async function startReplay(version: SwapVersion): Promise<Replay> {
  const answer = (name: string): Answer => recordedAnswer(version, name);
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  let isLoaded = false;
  let loads = 0;
  const touch = (): void => {
    if (!isLoaded) loads += 1;
    isLoaded = true;
  };
  const listed = JSON.parse(answer("004-v1-models").body) as { data: { id: string }[] };
  const names = listed.data.map(({ id }) => `/upstream/${id}/`);
  const answers: Record<string, () => Answer> = {
    "GET /v1/models": () => answer(isLoaded ? "082-v1-models-starting" : "004-v1-models"),
    "GET /running": () => answer(isLoaded ? "084-running-ready" : "006-running-empty"),
    "GET /api/version": () => answer("003-version"),
    [`POST /api/models/unload/${REPLAYED_MODEL}`]: () => {
      isLoaded = false;
      return answer("064-unload-colon-enc");
    },
    "POST /api/models/unload": () => {
      isLoaded = false;
      return answer("085-unload");
    },
    "POST /v1/chat/completions": () => {
      touch();
      return answer("080-slow-chat");
    },
    [`GET /upstream/${REPLAYED_MODEL}/health`]: () => answer("086-upstream-health-slow"),
    // Of another model with the same upstream, whose props were recorded.
    [`GET /upstream/${REPLAYED_MODEL}/props`]: () => answer("046-upstream-props"),
  };
  const server = createServer(async (request, response: ServerResponse) => {
    const asked = `${request.method} ${request.url}`;
    requests.push(asked);
    const path = decodeURIComponent(request.url ?? "");
    if (names.some((name) => path.startsWith(name))) touch();
    const isWhole = request.method !== "POST" || !(await drained(request)).endsWith("{");
    const found = isWhole ? answers[asked] : undefined;
    give(response, found?.() ?? answer("011-not-found"));
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const url = `http://127.0.0.1:${await listen(server)}`;
  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return { url, env: { AI_SERVER_URL: url }, asked: () => requests, loads: () => loads, close };
}
