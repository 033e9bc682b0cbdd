/** Hugging Face, as the environment of pi names it. */
import { readEndpoint } from "../../huggingface/endpoint.ts";
import { HubClient } from "../../huggingface/hub.ts";
import type { Call } from "../call.ts";

/** The hub, and the token that a download needs too. */
export interface HubAccess {
  readonly hub: HubClient;
  readonly token: string | undefined;
}

/** @throws {ServerError} where a variable or a token cannot be used */
export async function openHub({ aiServer }: Pick<Call, "aiServer">): Promise<HubAccess> {
  const endpoint = await readEndpoint(aiServer.variables);
  return { hub: new HubClient(endpoint), token: endpoint.token };
}
