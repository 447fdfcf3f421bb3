const part = (name) => element.querySelector(`[data-part="${name}"]`);
const turns = part('turns');
let drawn = [];  // [json, node] of each turn
let pointed = null;

const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};
const point = (turn, look) => window.dispatchEvent(new CustomEvent('bimba-evidence', {
  detail: { evidence: turn && turn.evidence, question: turn && turn.question, look },
}));

function facts(turn) {
  const told = [];
  if (turn.seconds !== undefined) told.push(`${turn.seconds} s`);
  if (turn.was_encoded) told.push('video known from before, not encoded again');
  if (turn.is_cut) told.push('cut off: it may have no more new tokens');
  return told.join(' · ');
}

function article(turn) {
  const node = make('article', undefined, `turn ${turn.state}`);
  node.append(make('p', turn.question, 'question'));
  const answer = make('div', undefined, 'answer');
  if (turn.text) answer.append(make('p', turn.text, 'text'));
  if (turn.state === 'busy') answer.append(make('p', turn.stage, 'stage-told'));
  if (turn.state === 'stopped') answer.append(make('p', 'Stopped.', 'fine'));
  if (turn.error) answer.append(make('p', turn.error, 'error'));
  if (turn.remark) answer.append(make('p', turn.remark, 'remark'));
  if (turn.note) answer.append(make('p', `No evidence: ${turn.note}`, 'fine'));
  const foot = make('div', undefined, 'foot'), told = facts(turn);
  if (turn.evidence && turn.evidence.moments.length > 1) {
    const button = make('button', 'Show its moments', 'link');
    button.type = 'button';
    button.setAttribute('aria-label', `Show the moments that the answer to “${turn.question}” rests on`);
    button.addEventListener('click', () => point(turn, true));
    foot.append(button);
  }
  if (told) foot.append(make('span', told));
  if (foot.childNodes.length) answer.append(foot);
  node.append(answer);
  return node;
}

function intro(value) {
  const node = make('div', undefined, 'intro');
  node.append(make('p', value.ready ? 'Ask anything about it.' : 'Open a video to ask about it.', 'lead'));
  if (value.about) node.append(make('p', value.about, 'fine'));
  return node;
}

function ideas(value) {
  const told = JSON.stringify(value.questions);
  if (part('ideas').dataset.told !== told) {
    part('ideas').dataset.told = told;
    part('ideas').replaceChildren(...value.questions.map((question) => {
      const button = make('button', question);
      button.type = 'button';
      button.addEventListener('click', () => trigger('asked', { question }));
      return button;
    }));
  }
  for (const button of part('ideas').children) button.disabled = !value.ready || value.busy;
}

function render() {
  const value = JSON.parse(props.value || '{}');
  if (!value.turns) return;
  ideas(value);
  if (!value.turns.length) {
    turns.replaceChildren(intro(value));
    drawn = []; pointed = null;
    point(null);
    return;
  }
  if (!drawn.length) turns.replaceChildren();
  const isAtEnd = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80 || value.turns.length !== drawn.length;
  value.turns.forEach((turn, number) => {
    const json = JSON.stringify(turn);
    if (drawn[number] && drawn[number][0] === json) return;
    const node = article(turn);
    if (drawn[number]) drawn[number][1].replaceWith(node); else turns.append(node);
    drawn[number] = [json, node];
  });
  if (isAtEnd) turns.scrollTop = turns.scrollHeight;
  const last = value.turns[value.turns.length - 1];
  if (last.evidence && pointed !== value.turns.length) { pointed = value.turns.length; point(last, false); }
  if (last.state !== 'busy') part('said').textContent = [last.text, last.error, last.remark].filter(Boolean).join(' ');
  else part('said').textContent = '';
}

watch('value', render);
render();
