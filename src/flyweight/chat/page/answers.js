// What passes between the page and the server.

async function post(path, value) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
  });
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Error(told.error ?? `the server refused this (${response.status})`);
  }
  return response;
}

/** The lines of an answer as they come: objects of one key (waiting, begin, token, end or error). */
export async function* ask(request) {
  const reader = (await post("/api/answer", request)).body.getReader();
  const decoder = new TextDecoder();
  let kept = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (kept + decoder.decode(value, { stream: true })).split("\n");
    kept = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Ends the answer of that id at its next token; whether the server knew it. */
export async function stop(id) {
  return (await (await post("/api/stop", { id })).json()).stopped;
}

export async function aboutModel() {
  const response = await fetch("/api/model");
  if (!response.ok) throw new Error(`the server refused this (${response.status})`);
  return response.json();
}

export function inWords(error) {
  return error instanceof TypeError ? "The server does not answer; is it still running?" : `${error.message}.`;
}
