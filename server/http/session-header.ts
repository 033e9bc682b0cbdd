/**
 * Names the conversation: a load balancer keeps its requests on one server, whose cache holds it (Caddy's `lb_policy
 * header`). Every request carries it, so that what is read of the server is of the one that answers the conversation.
 */
export const SESSION_HEADER = "x-session-id";

/** The header, where the id can stand in one. */
export function sessionHeader(id: string | undefined): Record<string, string> {
  return id !== undefined && /^[\x21-\x7e]+$/.test(id) ? { [SESSION_HEADER]: id } : {};
}

/** The conversation of a request, which learns how it was answered. */
export interface Conversation {
  readonly session: string | undefined;
  /** Takes the headers of an answer, their names in lower case. */
  sawHeaders(headers: Readonly<Record<string, string>>): void;
}

export const NO_CONVERSATION: Conversation = { session: undefined, sawHeaders: () => {} };
