import { expect, onTestFinished, test } from "vitest";
import type { KindName } from "../../../sim/kinds/server.ts";
import { Desk } from "../../conformance/desk.ts";
import { User } from "../../support/command-user.ts";
import { allFindings } from "../../support/doctor-findings.ts";
import { startKind } from "../../support/kinds.ts";

const KINDS: readonly KindName[] = [
  "router",
  "llama-server",
  "vllm",
  "ollama",
  "lm-studio",
  "lm-studio-0.3",
  "plain",
  "html",
];

test.each(KINDS)("on a machine in order, nothing is wrong with a server of the kind %s", async (kind) => {
  // The desk's machine is in order.
  const stand = await startKind(kind, { speed: 100 });
  onTestFinished(() => stand.close());
  // Some kinds load their models when they start.
  const before = stand.loads();
  const desk = new Desk(stand.env);
  const type = async (line: string, user = new User("json")): Promise<User> => {
    await desk.type(line, user);
    return user;
  };
  const list = (await allFindings({ type })).filter(({ group }) => group === "machine");
  expect(list.filter(({ verdict }) => verdict === "warning" || verdict === "fault")).toEqual([]);
  expect(list.length).toBeGreaterThan(4);
  const unit = list.find(({ check }) => check === "unit");
  const isKnown = kind === "router" || kind === "llama-server";
  expect(unit?.verdict).toBe(isKnown ? "ok" : "unchecked");
  expect(list.some(({ check }) => check === "lock")).toBe(kind === "router");
  expect(stand.loads()).toBe(before);
});
