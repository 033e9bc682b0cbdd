import type { Clock } from "./clock.ts";
import { Fields } from "./fields.ts";
import { readBehaviour } from "./flags.ts";
import type { Exchange } from "./http.ts";
import { Log } from "./log.ts";
import { isMap } from "./macros.ts";
import { renameModel } from "./request-parts.ts";
import { Upstream } from "./upstream.ts";
import { answer } from "./upstream-answers.ts";

/** Time after which a process listens for certain. */
const LISTENING_MS = 200;

/** A model that another server runs (`peers:`). */
export interface PeerModel {
  /** `peer/model` (v242). */
  id: string;
  peerId: string;
  /** Its name there. */
  model: string;
}

/** An id for one of several models, chosen at each request (`selectors:`, v241). */
export interface Selector {
  id: string;
  strategy: string;
  targets: string[];
}

export function readPeers(peers: Record<string, unknown>): Map<string, PeerModel> {
  const found = new Map<string, PeerModel>();
  for (const [peerId, value] of Object.entries(peers)) {
    const peer = new Fields(`peer ${peerId}: `, isMap(value) ? value : {});
    if (peer.text("proxy", "") === "") throw peer.error("proxy is required");
    for (const model of peer.list("models")) {
      found.set(`${peerId}/${model}`, { id: `${peerId}/${model}`, peerId, model });
    }
  }
  return found;
}

export function readSelectors(selectors: Record<string, unknown>): Map<string, Selector> {
  const entries = Object.entries(selectors).map(([id, value]): [string, Selector] => {
    const selector = new Fields(`selector ${id}: `, isMap(value) ? value : {});
    return [id, { id, strategy: selector.text("strategy", "loaded"), targets: selector.list("targets") }];
  });
  return new Map(entries);
}

/** The other servers: each has its models loaded always, and nothing of them is seen in `/running`. */
export class Peers {
  readonly #clock: Clock;
  readonly #processes = new Map<string, Promise<Upstream>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Answers in the other server's place. */
  async serve(exchange: Exchange, { id, model }: PeerModel): Promise<void> {
    const known = this.#processes.get(id) ?? this.#start(model);
    this.#processes.set(id, known);
    await answer({ ...exchange, body: renameModel(exchange.body, model) }, await known);
  }

  async #start(model: string): Promise<Upstream> {
    const flags = readBehaviour(`llama-server -a '${model}' --no-reasoning`);
    const process = new Upstream(flags, this.#clock, new Log());
    await this.#clock.sleep(LISTENING_MS);
    return process;
  }
}
