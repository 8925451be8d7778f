// What people can tell flows and tickets, each with a dry run that says what would change before anything does.

import { api, path, Problem } from './api.js';
import { h } from './dom.js';
import { counted } from './format.js';
import { button, dialog, field, toast, words } from './ui.js';

const ENDED = new Set(['COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED']);
export const isOpen = (flow) => !ENDED.has(flow.status);

/** Commands: `fits(record)` says whether one is offered; `fields` are asked for beside the reason. */
export const FLOW_COMMANDS = [
  { verb: 'approve', fits: (flow) => flow.status === 'AWAITING_APPROVAL' },
  { verb: 'deny', fits: (flow) => flow.status === 'AWAITING_APPROVAL', risky: true },
  { verb: 'pause', fits: (flow) => isOpen(flow) && !['PAUSED', 'AWAITING_APPROVAL'].includes(flow.status) },
  { verb: 'resume', fits: (flow) => flow.status === 'PAUSED' },
  { verb: 'adjust', fits: isOpen, fields: [['priority', 'Priority', ['', 'LOW', 'NORMAL', 'HIGH', 'CRITICAL']], ['max_retries', 'Most retries', 'number'], ['sla_seconds', 'Seconds from now to the deadline', 'number']] },
  { verb: 'redrive', fits: (flow) => !isOpen(flow) && flow.status !== 'COMPLETED', fields: [['sla_seconds', 'Seconds from now to the deadline', 'number']] },
  { verb: 'cancel', fits: isOpen, risky: true },
];
const LIVE = new Set(['PENDING', 'ASSIGNED', 'RUNNING', 'WAITING']);
export const TICKET_COMMANDS = [
  { verb: 'approve', fits: (ticket) => ticket.status === 'WAITING' && ticket.task_type === 'APPROVE', person: true },
  { verb: 'deny', fits: (ticket) => ticket.status === 'WAITING' && ticket.task_type === 'APPROVE', person: true, risky: true },
  { verb: 'retry', fits: (ticket) => ['PENDING', 'FAILED'].includes(ticket.status), fields: [['force', 'Although no retry is left', 'flag']] },
  { verb: 'reassign', fits: (ticket) => Boolean(ticket.worker_id) && LIVE.has(ticket.status) },
  { verb: 'skip', fits: (ticket) => LIVE.has(ticket.status), fields: [['output', 'Output for what depends on it (JSON)', 'json']], risky: true },
];

export const addressOf = (kind, id, verb) => (kind === 'flow' ? path`/api/v1/flows/${id}/${verb}` : path`/api/v1/tickets/${id}/${verb}`);
const title = (text) => text[0].toUpperCase() + text.slice(1);

/** Buttons for the commands that fit a record; `done` is called after one was carried out, `also` may leave some out. */
export const commandButtons = (kind, record, done, also = () => true) => (kind === 'flow' ? FLOW_COMMANDS : TICKET_COMMANDS).filter((command) => command.fits(record) && also(command))
  .map((command) => button(title(command.verb), () => (command.person ? decideAbout(record, command.verb, done) : ask(kind, command, [record], done)), { class: command.risky ? 'risky' : '' }));

// A ticket may have a form: its question is read first.
async function decideAbout(ticket, verb, done) {
  try {
    const [{ decide }, question] = await Promise.all([import('./decide.js'), api.get(path`/api/v1/tickets/${ticket.ticket_id}/approval`)]);
    await decide(question, verb, done);
  } catch (error) {
    toast(error.message, 'bad');
  }
}

/**
 * Ask for the reason, show what a command would change for all `records`, and carry it out once a person agrees.
 * What fails for one record is told, and does not stop the others.
 */
export async function ask(kind, command, records, done = () => {}) {
  const ids = records.map((record) => (kind === 'flow' ? record.flow_id : record.ticket_id));
  const what = ids.length === 1 ? `this ${kind}` : counted(ids.length, kind);
  await dialog(`${title(command.verb)} ${what}`, (close) => {
    const form = h('form', { method: 'dialog', onsubmit: (event) => event.preventDefault() });
    const shown = h('div', { class: 'changes', 'aria-live': 'polite' }, 'A dry run says what would change.');
    const body = (dry) => read(form, command, dry);
    const dry = button('Dry run', () => tried(shown, () => carriedOut(kind, command, ids, body(true), shown), (answers) => changes(answers)));
    const go = button(`${title(command.verb)} ${what}`, () => tried(shown, () => carriedOut(kind, command, ids, body(false), shown), (answers) => {
      const failed = answers.filter((answer) => answer instanceof Problem);
      if (failed.length < answers.length) toast(`${title(command.verb)}: ${counted(answers.length - failed.length, kind)}`, 'good');
      done();
      if (failed.length) return changes(answers);
      close(true);
      return [];
    }), { class: command.risky ? 'risky' : 'main' });
    form.append(field('Reason', h('input', { name: 'reason', maxlength: '1000', autofocus: true, placeholder: 'for the history, and everybody whom it concerns' })),
      ...(command.fields ?? []).map(([name, label, kindOf]) => field(label, Array.isArray(kindOf)
        ? h('select', { name }, kindOf.map((value) => h('option', { value }, value ? words(value) : 'as it is')))
        : h(kindOf === 'json' ? 'textarea' : 'input', { name, ...(kindOf === 'number' ? { type: 'number', min: '0', step: 'any' } : kindOf === 'flag' ? { type: 'checkbox', value: 'yes' } : {}) }))), shown,
      h('footer', {}, dry, go));
    return form;
  });
}

function read(form, command, dry) {
  const said = { dry_run: dry };
  if (form.elements.reason.value) said.reason = form.elements.reason.value;
  for (const [name, label, kind] of command.fields ?? []) {
    const control = form.elements[name], text = control.value.trim();
    if (!text || (kind === 'flag' && !control.checked)) continue;
    try {
      said[name] = kind === 'flag' || (kind === 'number' ? Number(text) : kind === 'json' ? JSON.parse(text) : text);
    } catch {
      throw new Problem(0, { detail: `${label}: this is no JSON` });
    }
  }
  return said;
}

const AT_ONCE = 4;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Tell a command to all `ids`, a few at a time; where the platform asks for a pause, one is made. */
async function carriedOut(kind, command, ids, body, shown) {
  const answers = [], left = [...ids];
  const bar = h('progress', { max: ids.length, 'aria-label': 'Progress' }), said = h('span', {});
  let stopped = false;
  const tell = () => { bar.value = answers.length; said.textContent = ` ${answers.length} of ${ids.length} `; };
  const one = async (id) => {
    for (;;) {
      try {
        return await api.post(addressOf(kind, id, command.verb), body);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.status !== 429 || stopped) return error;
        await wait(1000);
      }
    }
  };
  const work = async () => {
    while (left.length && !stopped && shown.isConnected) {
      answers.push(await one(left.shift()));
      tell();
    }
  };
  tell();
  if (ids.length > AT_ONCE) shown.replaceChildren(bar, said, button('Stop', () => { stopped = true; }));
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (left.length) toast(`Stopped: ${left.length} of ${counted(ids.length, kind)} were not told.`, 'bad');
  return answers;
}

async function tried(shown, work, view) {
  const buttons = shown.parentElement.querySelectorAll('button');
  buttons.forEach((one) => { one.disabled = true; });
  try {
    shown.replaceChildren(...[view(await work())].flat());
  } catch (error) {
    shown.replaceChildren(h('p', { class: 'bad', role: 'alert' }, error.message));
  }
  buttons.forEach((one) => { one.disabled = false; });
}

const MOST = 50;
/** What commands have changed, or would: the answers of the API as nodes. */
export function changes(answers) {
  const refused = {}, lines = [];
  for (const answer of answers) {
    if (answer instanceof Problem) refused[answer.message] = (refused[answer.message] ?? 0) + 1;
    else for (const change of answer.changes) lines.push([answer, change]);
  }
  const line = ([answer, change]) => h('li', {}, answers.length > 1 && `${answer.decision_id}: `, h('b', {}, change.task_id ?? 'flow'),
    change.to_status ? ` ${words(change.from_status)} → ${words(change.to_status)}` : ` ${words(change.type.split('.').pop())}`, change.cause && ` (${words(change.cause)})`);
  return [h('ul', {}, Object.entries(refused).map(([message, times]) => h('li', { class: 'bad' }, times > 1 && `${times} times: `, message))),
    h('p', {}, lines.length ? `${counted(lines.length, 'change')}:` : !answers.some((answer) => answer instanceof Problem) && 'Nothing changes.'),
    h('ul', {}, lines.slice(0, MOST).map(line), lines.length > MOST && h('li', {}, `and ${lines.length - MOST} more`))];
}
