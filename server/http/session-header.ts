/**
 * Names the conversation: a load balancer keeps its requests on one server, whose cache holds it (Caddy's `lb_policy
 * header`). Every request carries it, so that what is read of the server is of the one that answers the conversation.
 */
export const SESSION_HEADER = "x-session-id";

/** The header, where the id can stand in one. */
export function sessionHeader(id: string | undefined): Record<string, string> {
  return id !== undefined && /^[\x21-\x7e]+$/.test(id) ? { [SESSION_HEADER]: id } : {};
}
