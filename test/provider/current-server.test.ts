import { expect, onTestFinished, test } from "vitest";
import { readConfig } from "../../config.ts";
import { CurrentServer } from "../../provider/current-server.ts";

const at = (port: number) => readConfig({ AI_SERVER_URL: `http://127.0.0.1:${port}` }, {}, "/nowhere");

function current(): CurrentServer {
  const made = new CurrentServer(Date.now, async () => undefined);
  onTestFinished(() => made.close());
  return made;
}

test("equal configurations share a server, and different ones do not", async () => {
  const servers = current();
  const [first, same] = await Promise.all([servers.get(at(1)), servers.get(at(1))]);
  expect(same).toBe(first);
  const other = await servers.get(at(2));
  expect(other).not.toBe(first);
  expect(other.config.origin).toBe("http://127.0.0.1:2");
});

test("returns an open server without opening one", async () => {
  const servers = current();
  expect(await servers.open(at(1))).toBeUndefined();
  const made = await servers.get(at(1));
  expect(await servers.open(at(1))).toBe(made);
  expect(await servers.open(at(2))).toBeUndefined();
});

test("closing aborts what uses it, and a later use makes a new one", async () => {
  const servers = current();
  const [first, { closing }] = [await servers.get(at(1)), servers];
  await servers.close();
  expect([closing.aborted, servers.closing.aborted]).toEqual([true, false]);
  expect(await servers.open(at(1))).toBeUndefined();
  expect(await servers.get(at(1))).not.toBe(first);
  await servers.close();
  await servers.close();
});
