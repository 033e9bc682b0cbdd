import { Desk } from "../conformance/desk.ts";
import { User } from "./command-user.ts";
import { findings, type ShownFinding } from "./doctor-findings.ts";

/** What the doctor finds of a model that is ready at this address, by check. */
export async function trial(env: Record<string, string>, id: string): Promise<Record<string, ShownFinding>> {
  const desk = new Desk(env);
  const type = async (line: string, user = new User("json")): Promise<User> => {
    await desk.type(line, user);
    return user;
  };
  return findings({ type }, `--model ${id}`);
}

/** The lines of the model's own checks in what the doctor has shown. */
export function modelPart(shown: string | undefined): string {
  return /^A model\n(.*?)\n\n/ms.exec(shown ?? "")?.[1] ?? "";
}

/** What it blames the model, its server or the way for. */
export function blamed(found: Record<string, ShownFinding>): ShownFinding[] {
  return Object.values(found).filter(
    ({ group, verdict }) => group === "model" && /warning|fault/.test(verdict),
  );
}
