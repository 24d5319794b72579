// Vercel's AI SDK. Variants: `compatible` (@ai-sdk/openai-compatible), `chat` (@ai-sdk/openai, `.chat(model)`) and
// `default` (@ai-sdk/openai, `openai(model)`, which asks /v1/responses).
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { MODEL, piece, run, seen, task } from "./contract.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const settings = { name: "stopwatch", baseURL: task.baseURL, apiKey: "unused", includeUsage: true };
const models = {
  compatible: () => createOpenAICompatible(settings)(MODEL),
  chat: () => createOpenAI(settings).chat(MODEL),
  default: () => createOpenAI(settings)(MODEL),
};
const asked = {
  model: models[task.variant](),
  prompt: task.question,
  headers: task.headers,
  abortSignal: task.signal,
};

await run(async () => {
  if (!task.streamed) {
    const whole = await generateText(asked);
    piece(whole.text);
    seen.finish = whole.finishReason;
    seen.usage = whole.usage.outputTokens ?? null;
    return;
  }
  const answer = streamText({ ...asked, includeRawChunks: true, onError() {} });
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") piece(part.text);
    if (part.type === "raw") seen.aborted = part.rawValue.aborted ?? seen.aborted;
    if (part.type === "error") throw part.error;
    if (part.type === "finish") {
      seen.finish = part.finishReason;
      seen.usage = part.totalUsage.outputTokens ?? null;
    }
  }
});
