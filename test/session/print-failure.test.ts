import type { SessionEntry } from "@earendil-works/pi-coding-agent";
import { describe, expect, it } from "vitest";
import { lostFailure } from "../../session/print-failure.ts";
import { assistant, user } from "../support/samples.ts";

const said = (id: string, message: unknown): SessionEntry =>
  ({ type: "message", id, parentId: null, timestamp: "", message }) as SessionEntry;
const omitted = (targetId: string): SessionEntry =>
  ({
    type: "context_edit",
    id: "e",
    parentId: null,
    timestamp: "",
    targetId,
    replacement: null,
  }) as SessionEntry;

const overflow = assistant([], { stopReason: "error", errorMessage: "It does not fit." });

describe("the failure of a turn", () => {
  it("is lost where pi has taken the answer out of the conversation", () => {
    expect(lostFailure([said("1", user("Hi")), said("2", overflow), omitted("2")])).toBe("It does not fit.");
  });

  it.each([
    ["that pi prints itself", [said("1", user("Hi")), said("2", overflow)]],
    ["that was made good", [said("2", overflow), omitted("2"), said("3", assistant([]))]],
    ["of another provider", [said("2", { ...overflow, provider: "other" }), omitted("2")]],
    ["before any answer", [said("1", user("Hi"))]],
  ])("%s is not", (_, entries) => {
    expect(lostFailure(entries)).toBeUndefined();
  });
});
