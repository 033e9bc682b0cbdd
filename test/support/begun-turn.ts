import {
  type Activity,
  TurnActivity,
  type TurnQuestions,
  type TurnSubject,
} from "../../activity/turn-activity.ts";

/** A turn on a clock that stands still until it is moved. */
export function begun(subject: Partial<TurnSubject> = {}) {
  const clock = { at: 1_800_000_000_000 };
  const asked: string[] = [];
  const questions: TurnQuestions = {
    expectedLoadMs: async () => {
      asked.push("load");
      return 20_000;
    },
    requestsOf: async (model) => {
      asked.push(model);
      return asked.length;
    },
    lastUsed: async () => {
      asked.push("last used");
      return "other";
    },
  };
  const whole = { id: "m", name: "M", sessionId: undefined, hasAnswered: false, ...subject };
  const turn = new TurnActivity(whole, questions, () => clock.at);
  /** What is seen after this time, once what was asked has been answered. */
  const lookAfter = async (ms: number): Promise<Activity> => {
    clock.at += ms;
    turn.look();
    await Promise.resolve();
    return turn.look();
  };
  return { clock, turn, asked, lookAfter };
}
