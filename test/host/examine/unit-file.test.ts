import { expect, test } from "vitest";
import { secondsIn } from "../../../host/examine/facts.ts";
import { unitLines, unknownKeys, wrongLines } from "../../../host/examine/unit-file.ts";
import { recordedSystemd } from "../../support/systemd.ts";

const wrong = (text: string, said = ""): string[] =>
  wrongLines(unitLines(text), said).map(({ line, why }) => `${why}: ${line.key}=${line.value}`);

test("the unit of docs/server.md has no wrong line", () => {
  expect(wrong(recordedSystemd("good.cat"))).toEqual([]);
});

test("every line that a user unit cannot have is found, those that systemd ignores by its own words", () => {
  const [first] = unitLines(recordedSystemd("broken.cat"));
  expect(first).toEqual({
    path: "/home/ai-server/.config/systemd/user/llama-swap.service",
    section: "Unit",
    key: "Description",
    value: "llama-swap, the AI server",
  });
  expect(wrong(recordedSystemd("broken.cat"), recordedSystemd("broken.verify"))).toEqual([
    "target: After=network-online.target",
    "target: Wants=network-online.target",
    "account: User=nobody",
    "account: Group=nogroup",
    "unknown: LimitMEMLOCK_BYTES=infinity",
    "unknown: Foo=bar",
    "wanted: WantedBy=multi-user.target",
  ]);
});

test("without systemd-analyze LimitMEMLOCK_BYTES is known by its name", () => {
  expect(wrong(recordedSystemd("broken.cat"))).toContain("unknown: LimitMEMLOCK_BYTES=infinity");
});

test.each([
  ["/x/a.service:10: Unknown key 'Foo' in section [Service], ignoring.", "252"],
  ["/x/a.service:10: Unknown key name 'Foo' in section 'Service', ignoring.", "246"],
  ["[/x/a.service:10] Unknown lvalue 'Foo' in section 'Service'", "219"],
])("reads %j of systemd %s", (said) => {
  expect(unknownKeys(said)).toEqual([{ section: "Service", key: "Foo" }]);
});

test("an emptied setting, a second target and another section are no faults", () => {
  const text = [
    "[Unit]\nAfter=\nAfter=default.target",
    "[Service]\nUser=\nEnvironment=User=x \\\n  Group=y\n#Group=z",
    "[Install]\nWantedBy=default.target multi-user.target",
    "[X-Other]\nUser=me",
  ].join("\n");
  expect(wrong(text, "/b.service:3: Unknown key 'User' in section [Mount], ignoring.")).toEqual([]);
});

test.each([
  ["45s", 45],
  ["1min 30s", 90],
  ["1h 2min 3s 4ms", 3723.004],
  ["infinity", Number.POSITIVE_INFINITY],
  ["", undefined],
  ["soon", undefined],
])("a span of %j is %d s", (span, seconds) => {
  expect(secondsIn(span)).toBe(seconds);
});
