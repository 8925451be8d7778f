// What people can tell flows and tickets, each with a dry run.

import { act, each, REASON } from './act.js';
import { api, path, Problem } from './api.js';
import { h } from './dom.js';
import { counted } from './format.js';
import { button, capital, choices, words } from './ui.js';

const ENDED = new Set(['COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED']);
export const isOpen = (flow) => !ENDED.has(flow.status);
export const PRIORITIES = ['LOW', 'NORMAL', 'HIGH', 'CRITICAL'];
const SLA = { name: 'sla_seconds', label: 'Seconds from now to the deadline', kind: 'number', least: 0 };
const LIVE = new Set(['PENDING', 'ASSIGNED', 'RUNNING', 'WAITING']);

/** Commands: `fits(record)` says whether one is offered; `fields` are asked for beside the reason. */
const COMMANDS = {
  flow: [
    { verb: 'approve', fits: (flow) => flow.status === 'AWAITING_APPROVAL' },
    { verb: 'deny', fits: (flow) => flow.status === 'AWAITING_APPROVAL', risky: true },
    { verb: 'pause', fits: (flow) => isOpen(flow) && !['PAUSED', 'AWAITING_APPROVAL'].includes(flow.status) },
    { verb: 'resume', fits: (flow) => flow.status === 'PAUSED' },
    { verb: 'adjust', fits: isOpen, fields: [{ name: 'priority', label: 'Priority', kind: 'choice', options: choices(PRIORITIES) }, { name: 'max_retries', label: 'Most retries', kind: 'integer', least: 0 }, SLA] },
    { verb: 'redrive', fits: (flow) => !isOpen(flow) && flow.status !== 'COMPLETED', fields: [SLA] },
    { verb: 'cancel', fits: isOpen, risky: true },
  ],
  ticket: [
    { verb: 'retry', fits: (ticket) => ['PENDING', 'FAILED'].includes(ticket.status), fields: [{ name: 'force', label: 'Although no retry is left', kind: 'choice', options: [[true, 'yes']] }] },
    { verb: 'reassign', fits: (ticket) => Boolean(ticket.worker_id) && LIVE.has(ticket.status) },
    { verb: 'skip', fits: (ticket) => LIVE.has(ticket.status), fields: [{ name: 'output', label: 'Output for what depends on it (JSON)', kind: 'json' }], risky: true },
  ],
};

export const tell = (kind, id, verb, body) => api.post(path`${kind}s/${id}/${verb}`, body);

/** Buttons for the commands that fit some of `records`, with their number if it is given; `done` is called after one. */
export const commandButtons = (kind, records, done, numbered = false) => COMMANDS[kind].map((command) => [command, records.filter(command.fits)]).filter(([, fitting]) => fitting.length)
  .map(([command, fitting]) => button(`${capital(command.verb)}${numbered ? ` ${fitting.length}` : ''}`, () => ask(kind, command, fitting, done), { class: command.risky ? 'risky' : '' }));

/** Ask before a command. What fails for one record is told, and does not stop the others. */
function ask(kind, { verb, fields = [], risky }, records, done) {
  const title = `${capital(verb)} ${records.length === 1 ? `this ${kind}` : counted(records.length, kind)}`;
  const all = (values, dry, told) => each(records, (record) => tell(kind, record[`${kind}_id`], verb, { ...values, dry_run: dry }), told);
  act(title, { fields: [REASON, ...fields], risky, done,
    preview: async (values, told) => changes(await all(values, true, told)),
    run: async (values, told) => {
      const answers = await all(values, false, told);
      return answers.some((answer) => answer instanceof Problem) ? changes(answers) : `${capital(verb)}: ${counted(answers.length, kind)}`;
    } });
}

const MOST = 50;
/** The changes that answers of the API tell. */
export function changes(answers) {
  const refused = Object.groupBy(answers.filter((answer) => answer instanceof Problem), ({ message }) => message);
  const lines = answers.flatMap((answer) => (answer.changes ?? []).map((change) => [answer, change]));
  const line = ([answer, change]) => h('li', answers.length > 1 && `${answer.decision_id}: `, h('b', change.task_id ?? 'flow'),
    change.to_status ? ` ${words(change.from_status)} → ${words(change.to_status)}` : ` ${words(change.type.split('.').pop())}`, change.cause && ` (${words(change.cause)})`);
  return [Object.entries(refused).map(([message, { length }]) => h('p.bad', length > 1 && `${length} times: `, message)),
    h('p', lines.length ? `${counted(lines.length, 'change')}:` : !Object.keys(refused).length && 'Nothing changes.'),
    h('ul', lines.slice(0, MOST).map(line), lines.length > MOST && h('li', `and ${lines.length - MOST} more`))].flat();
}
