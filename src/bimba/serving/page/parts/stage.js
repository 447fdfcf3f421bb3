const part = (name) => element.querySelector(`[data-part="${name}"]`);
const show = (name, is = true) => { part(name).hidden = !is; };
const video = part('video'), image = part('image');
let opened = null;  // {id, name, file, url, wantsPreview, triedPreview}
let seconds = 0;
const isStill = window.matchMedia('(prefers-reduced-motion: reduce)');

const clock = (time, tenths = false) => {
  const unit = tenths ? 10 : 1, all = Math.round(time * unit), whole = Math.floor(all / unit);
  const pad = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const told = `${hours ? `${hours}:${pad(minutes)}` : minutes}:${pad(whole % 60)}`;
  return tenths ? `${told}.${all % 10}` : told;
};
const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function tell(text, share) {
  show('status', Boolean(text));
  part('told').textContent = text || '';
  show('progress', share !== undefined);
  if (share !== undefined) part('progress').value = share;
}

function fail(message, name) {
  tell('');
  show('error', Boolean(message));
  part('error').textContent = !message ? '' : name ? `${name}: ${message}` : sentence(message);
}

function play(url, isImage) {
  show('drop', false); show('screen'); show('bar'); show('unshown', false);
  video.hidden = isImage; image.hidden = !isImage;
  if (isImage) { video.removeAttribute('src'); image.src = url; } else { image.removeAttribute('src'); video.src = url; }
}

function unshown(text) {
  video.hidden = true; image.hidden = true;
  show('unshown');
  part('unshown').textContent = text;
}

function empty() {
  if (opened && opened.request) opened.request.abort();
  if (opened && opened.id) trigger('closed', { id: opened.id });  // no question is about it any more
  if (opened && opened.url) URL.revokeObjectURL(opened.url);
  opened = null; seconds = 0;
  video.removeAttribute('src'); video.load(); image.removeAttribute('src');
  for (const name of ['screen', 'bar', 'hint', 'facts', 'evidence']) show(name, false);
  show('drop'); fail('');
  part('input').value = '';
}

function open(file) {
  empty();
  if (file.size > props.most_bytes) { fail(`it is too large. ${props.limits_text}`, file.name); return; }
  if (!file.size) { fail('it is empty. Choose a video or an image.', file.name); return; }
  const mine = { id: null, name: file.name, file, url: URL.createObjectURL(file) };
  opened = mine;
  part('name').textContent = file.name;
  play(mine.url, file.type.startsWith('image/'));
  tell('Uploading', 0);
  const form = new FormData(), request = new XMLHttpRequest();
  form.append('file', file, file.name);
  mine.request = request;
  request.upload.onprogress = (event) => tell('Uploading', event.total ? event.loaded / event.total : 0);
  request.upload.onload = () => tell('Checking the file');
  request.onerror = () => gone('the upload was cut off. Is the server still there? Try again.');
  request.onload = () => {
    if (opened !== mine) return;
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { answer = {}; }
    if (request.status === 200) found(mine, answer.id);
    else gone((answer.error && answer.error.message) || `the server refused it (status ${request.status}).`);
  };
  request.open('POST', 'page/files');
  request.send(form);
  function gone(message) {
    if (opened !== mine) return;
    empty();
    fail(message, mine.name);
  }
}

function found(mine, id) {
  mine.id = id; mine.request = null;
  tell('Planning');
  trigger('opened', { id, name: mine.name });
  if (mine.wantsPreview) preview(mine);
}

async function openExample() {
  empty();
  const mine = { id: null, name: props.example, triedPreview: true };
  opened = mine;
  tell('Making the example');
  try {
    const response = await fetch('page/example', { method: 'POST' });
    const answer = await response.json();
    if (opened !== mine) return;
    if (!response.ok) throw new Error(answer.error.message);
    part('name').textContent = mine.name;
    play('page/example/video', false);
    found(mine, answer.id);
  } catch (error) {
    if (opened === mine) { empty(); fail(error instanceof TypeError ? 'The server does not answer.' : error.message); }
  }
}

async function preview(mine) {
  mine.triedPreview = true;
  tell('This browser cannot play it as it is. Making a small preview');
  try {
    const response = await fetch(`page/previews/${mine.id}`);
    if (!response.ok) throw new Error((await response.json()).error.message);
    const made = await response.blob();
    if (opened !== mine) return;
    URL.revokeObjectURL(mine.url);
    mine.url = URL.createObjectURL(made);
    play(mine.url, false);
    show('hint');
    tell('');
  } catch (error) {
    if (opened !== mine) return;
    tell('');
    unshown(`This browser cannot play it (${error.message.replace(/\.$/, '')}). You can ask about it all the same.`);
  }
}

video.addEventListener('error', () => {
  if (!opened || !video.getAttribute('src')) return;
  if (opened.triedPreview) unshown('This browser cannot play it. You can ask about it all the same.');
  else if (opened.id) preview(opened);
  else opened.wantsPreview = true;
});
image.addEventListener('error', () => {
  if (opened && image.getAttribute('src')) unshown('This browser cannot show it. You can ask about it all the same.');
});

function facts(file, plan) {
  const list = part('facts'), told = [];
  list.replaceChildren();
  show('facts');
  if (file.kind !== 'image' && file.seconds) told.push(['Length', clock(file.seconds)]);
  told.push(['Size', `${file.width} × ${file.height}`]);
  if (plan.error) { fail(plan.error); } else {
    fail('');
    const at = plan.at, many = at.length > 1;
    const every = many ? (at[at.length - 1] - at[0]) / (at.length - 1) : 0;
    if (file.kind !== 'image') told.push(['Frames', `${plan.frames} of ${file.frames.toLocaleString('en')}`]);
    if (many) told.push(['One every', `${every < 10 ? every.toFixed(2) : every.toFixed(0)} s`]);
    told.push(['Tokens', plan.tokens.toLocaleString('en')]);
  }
  for (const [name, value] of told) {
    const pair = make('div');
    pair.append(make('dt', name), make('dd', value));
    list.append(pair);
  }
}

function render() {
  const value = JSON.parse(props.value || '{}');
  if (!opened || value.id !== opened.id || !opened.id) return;
  if (value.error) { const name = opened.name; opened.id = null; empty(); fail(value.error, name); return; }
  seconds = value.file.seconds;
  if (!opened.triedPreview && opened.url && image.hidden && ['image', 'animation'].includes(value.file.kind)) play(opened.url, true);
  if (!opened.wantsPreview || !part('status').textContent.includes('preview')) tell('');
  facts(value.file, value.plan);
}

function seek(time) {
  if (video.hidden) return;
  video.currentTime = time;
  playhead();
}

function playhead() {
  const line = part('bars').querySelector('.playhead');
  if (line && seconds) line.style.left = `${Math.min(100, (100 * video.currentTime) / seconds)}%`;
}

function draw(evidence, question) {
  const bars = part('bars'), list = part('moments');
  const moments = evidence ? evidence.moments : [];
  show('evidence', moments.length > 1 && seconds > 0);
  if (!moments.length || !seconds) return;
  const best = Math.max(...moments.map((one) => one.share), 1e-9), top = new Set(evidence.top);
  const title = part('evidence-title');
  title.textContent = 'What the answer rests on';
  if (question) title.append(make('span', question));
  bars.replaceChildren(...moments.map((one, number) => {
    const bar = make('i', undefined, top.has(number) ? 'top' : '');
    bar.style.left = `${(100 * (one.start + one.end)) / 2 / seconds}%`;
    bar.style.width = `max(3px, ${60 / moments.length}%)`;
    bar.style.height = `${Math.max(2, (100 * one.share) / best)}%`;
    return bar;
  }), make('i', undefined, 'playhead'));
  part('axis').replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((share) => make('span', clock(share * seconds))));
  list.replaceChildren(...evidence.top.map((number) => {
    const one = moments[number], item = make('li'), button = make('button'), share = Math.round(100 * one.share);
    button.type = 'button';
    button.append(make('b', clock(one.start, true)), make('span', `${share} %`));
    button.setAttribute('aria-label', `Go to ${clock(one.start, true)}, ${share} percent of what speaks for the answer`);
    button.addEventListener('click', () => seek(one.start));
    item.append(button);
    return item;
  }));
  if (!evidence.top.length) list.replaceChildren(make('li', 'No moment speaks for this answer more than the others.', 'none'));
  playhead();
}

part('bars').addEventListener('click', (event) => {
  const box = part('bars').getBoundingClientRect();
  seek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * seconds);
});
video.addEventListener('timeupdate', playhead);
window.addEventListener('bimba-evidence', (event) => {
  draw(event.detail.evidence, event.detail.question);
  if (event.detail.look) element.querySelector('.stage').scrollIntoView({ behavior: isStill.matches ? 'auto' : 'smooth', block: 'start' });
});

part('limits').textContent = `${props.limits_text} The server forgets it when you close this page.`;
show('example', Boolean(props.example));
part('example').addEventListener('click', openExample);
part('choose').addEventListener('click', () => part('input').click());
part('other').addEventListener('click', () => { empty(); part('choose').focus(); });
part('input').addEventListener('change', () => { if (part('input').files.length) open(part('input').files[0]); });
for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer || !Array.from(event.dataTransfer.types).includes('Files')) return;
    event.preventDefault();
    part('drop').classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
}
watch('value', render);
