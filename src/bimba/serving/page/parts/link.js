const part = (name) => element.querySelector(`[data-part="${name}"]`);
const EVERY = 5000, PATIENCE = 15000;  // milliseconds
let timer = null, failures = 0;

function tell(why, canLoad = false) {
  if (part('why').textContent !== why) part('why').textContent = why;
  part('lost').hidden = !why;
  part('again').hidden = !canLoad;
  document.body.classList.toggle('cut-off', Boolean(why));
}

async function look() {
  clearTimeout(timer);
  let wait = EVERY;
  try {
    const response = await fetch('page/here', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    failures = 0;
    if (response.ok) tell('');
    else if (response.status === 401) tell('The server was started anew. Load this page again to go on; what stands here is then gone.', true);
    else tell(sentence((await response.json()).error.message), response.status === 409);
  } catch {
    failures += 1;
    // A single failure may be a network that changes.
    if (failures > 1) tell('The server does not answer: it has ended, or the connection is down.');
    wait = 1000;
  }
  timer = setTimeout(look, wait);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
part('again').addEventListener('click', () => window.location.reload());
document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
for (const kind of ['online', 'offline']) window.addEventListener(kind, look);
timer = setTimeout(look, EVERY);
