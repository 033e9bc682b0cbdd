import { describe, expect, test } from "vitest";
import { statesInAnswer } from "../../../host/download/answer.ts";
import { downloadFault, wrapperFault } from "../../../host/download/download-faults.ts";
import { readAnswer } from "../../../host/ssh/protocol.ts";

const fault = (code: string, detail: string, isRunning: boolean) =>
  downloadFault(code, detail, "host", isRunning);

function states(text: string) {
  const { answer } = readAnswer(`n begin\n${text}\nn end\n`, "n");
  if (answer === undefined) throw new Error("The answer has no end");
  return statesInAnswer(answer, fault);
}

const A = "a".repeat(16);
const B = "b".repeat(16);

describe("an answer", () => {
  test("has the downloads in the order of their start, each with its files, rate and problem", () => {
    const detail = Buffer.from("curl: (56) reset").toString("base64");
    const found = states(
      [
        `download ${B} running curl 200 10 50`,
        "label org/b:Q4",
        "part 100 100 /m/one.gguf",
        "part 200 150 /m/two two.gguf",
        "problem network",
        "detail",
        detail,
        ".",
        `download ${A} complete hf 100 0 0`,
        "label org/a:Q4",
        "part 5 5 /m/a.gguf",
      ].join("\n"),
    );
    expect(found).toMatchObject([
      { id: A, label: "org/a:Q4", stage: "complete", program: "hf", rate: undefined, problem: undefined },
      {
        id: B,
        stage: "running",
        program: "curl",
        doneBytes: 250,
        totalBytes: 300,
        rate: undefined,
        files: [{ path: "/m/one.gguf" }, { path: "/m/two two.gguf", bytes: 200, doneBytes: 150 }],
        problem: {
          code: "network",
          message:
            "The connection from host broke off or could not be made (curl error 56: reset); trying again.",
        },
      },
    ]);
  });

  test("has no rate while a download waits to try again, since nothing arrives then", () => {
    const block = `download ${A} running curl 200 10 50\nlabel org/a:Q4\npart 300 250 /m/a.gguf`;
    expect(states(block)).toMatchObject([{ rate: 20 }]);
    expect(states(`${block}\nproblem network`)).toMatchObject([{ rate: undefined }]);
  });

  test("whose lines are none of ours is left out", () => {
    expect(states("download x running curl 1 1 1\npart 5 5 /a")).toEqual([]);
    expect(states(`download ${A} exploded curl 1 1 1`)).toEqual([]);
    expect(states(`download ${A} stopped - x y z\npart x y /a\npart 5 9 /b\npart 5 5`)).toMatchObject([
      { stage: "stopped", program: undefined, rate: undefined, files: [{ path: "/b", doneBytes: 5 }] },
    ]);
  });
});

describe("a fault", () => {
  test("without room names what is needed, also by others, and what is free", () => {
    const gib = 1024 ** 3;
    expect(downloadFault("no-space", `${41 * gib} ${30.5 * gib} ${12 * gib}`, "host").message).toBe(
      "The download needs 41 GiB, 12 GiB for those that run already and 1 GiB to spare on host, and 30.5 GiB is free there. Nothing was downloaded; make room, or set AI_SERVER_MODELS_DIR to a larger disk.",
    );
  });

  test("that has no sentence is named by its code, and control characters are left out", () => {
    expect(downloadFault("constructor", "", "host").message).toBe("The step on host failed (constructor).");
    expect(downloadFault("exists", "/m/\u001b[2Ja", "host").message).toMatch(
      /^\/m\/a on host is another file/,
    );
  });

  test("of a key that may only run ai-server-admin says what it cannot do", () => {
    expect(wrapperFault("host").message).toMatch(
      /^The ssh key for host may only run ai-server-admin .*neither downloads nor deletes files/,
    );
  });
});
