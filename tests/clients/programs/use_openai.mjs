// The official client for Node.
import OpenAI from "openai";
import { MODEL, piece, run, seen, task } from "./contract.mjs";

const client = new OpenAI({ baseURL: task.baseURL, apiKey: "unused" });
const messages = [{ role: "user", content: task.question }];
const options = { headers: task.headers, signal: task.signal };

await run(async () => {
  if (!task.streamed) {
    const whole = await client.chat.completions.create({ model: MODEL, messages }, options);
    piece(whole.choices[0].message.content);
    seen.finish = whole.choices[0].finish_reason;
    seen.usage = whole.usage?.completion_tokens ?? null;
    return;
  }
  const asked = { model: MODEL, messages, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(asked, options)) {
    seen.usage = chunk.usage?.completion_tokens ?? seen.usage;
    seen.aborted = chunk.aborted ?? seen.aborted;
    for (const choice of chunk.choices) {
      seen.finish = choice.finish_reason ?? seen.finish;
      piece(choice.delta.content);
    }
  }
});
