// One ticket: why it is where it is, its time, its workers, inputs, output, log and commands.

import { path } from '../lib/api.js';
import { commandButtons } from '../lib/commands.js';
import { decide } from '../lib/decide.js';
import { h } from '../lib/dom.js';
import { bytes, now, percent, span } from '../lib/format.js';
import { predicted } from '../lib/predicted.js';
import { ENDED, segments } from '../lib/run.js';
import { bars, legend, scaled, sumsOf } from '../lib/timeline.js';
import { asCommands, badge, because, button, copy, facts, flowLink, json, labels, link, panel, parts, since, table, ticketLink, to, words, workerLink } from '../lib/ui.js';

const NEAR = 12; // tickets before and behind this one that are read
const CHILDREN = 100;
const GRACE = 3600e3; // how long a token holds beyond the time that an attempt may take
const SHARES = [['health_score', 'health', 0.4], ['pheromone_score', 'pheromone', 0.3], ['telemetry_score', 'telemetry', 0.3]];

async function load(ctx) {
  const { params: { ticket_id: id }, local: kept } = ctx, at = path`tickets/${id}`;
  const { get } = ctx, near = kept.near ??= new Map();
  const [ticket, why] = await Promise.all([get(at), get(path`why/${id}`), history(kept, at, get)]);
  const asked = ticket.task_type === 'APPROVE';
  const known = (other) => ENDED.has(near.get(other)?.status) || get(path`tickets/${other}`).then((one) => near.set(other, one), () => null);
  const [flow, children, log, approval, made] = await Promise.all([get(path`flows/${ticket.flow_id}`),
    ticket.children && get('tickets', { flow_id: ticket.flow_id, parent: id, limit: CHILDREN }), ticket.log_bytes > 0 && get(`${at}/logs`), asked && get(`${at}/approval`).catch(() => null),
    asked && ticket.plan_id?.startsWith('forge:') && get(path`pipelines/${ticket.flow_id}`).catch(() => null),
    ...[ticket.parent ?? [], ticket.dependencies.slice(0, NEAR), ticket.dependants.slice(0, NEAR)].flat().map(known)]);
  return { ticket, why, entries: kept.entries, flow, children, log, approval, made, near };
}

async function history(kept, at, get) {
  kept.entries ??= [];
  for (let complete = false; !complete;) {
    const page = await get(`${at}/history`, { since_seq: kept.after, limit: 500 });
    kept.entries = [...kept.entries, ...page.items];
    ({ after: kept.after, complete } = page);
  }
}

const soft = (...content) => h('p.small.soft', ...content);

const asks = (one, ctx) => one && panel('The question', h('p.text', h('b', one.message)),
  one.decision ? [badge(one.decision === 'approved' ? 'completed' : 'failed', one.decision), json(one.output, { title: 'The decision', open: true })]
    : one.status !== 'WAITING' ? soft('Nobody is asked now.') : [soft('It is for ', one.approvers.join(', ') || 'whoever has the role operator', '. ', one.until && ['It can be decided until then: ', since(one.until), '. '], one.then),
      one.may_decide ? h('div.row', button('Approve…', () => decide(one, 'approve', ctx.reload), { class: 'main' }), button('Deny…', () => decide(one, 'deny', ctx.reload), { class: 'risky' })) : h('p', 'You may not decide this.')]);

const forged = ({ ticket, made, near: known }) => made && panel('What the forge has made', facts([['Score', made.score], ['Reason', ticket.dependencies.map((id) => known.get(id)?.output?.reason)]]),
  json(made.artifacts, { title: 'Artifacts', open: true }));

function timing({ ticket, entries, near }) {
  const list = segments(ticket, { moves: new Map([[ticket.ticket_id, entries.filter((entry) => entry.to_status)]]), tickets: near }, now());
  const deadline = Date.parse(ticket.sla.deadline), from = Date.parse(ticket.created_at), end = list.findLast((one) => one.kind !== 'slack')?.until ?? from;
  const x = scaled(from, Math.max(deadline, end) + 1);
  return panel('Time against the deadline', bars(list, x, h('b.due', { style: { left: `${x(deadline)}%` } })), legend(sumsOf(list), end > deadline && h('b.bad', `${span(end - deadline)} late`)),
    facts([['To be done by', since(ticket.sla.deadline)], ['To be started by', !ENDED.has(ticket.status) && since(ticket.latest_start)], ['Estimate', span(ticket.estimated_duration_ms)],
      ['Predicted', predicted(ticket.prediction, ticket.actual_duration_ms)], ['Worked', ticket.actual_duration_ms !== null && span(ticket.actual_duration_ms)], ['An attempt may take', span(ticket.sla.timeout_ms)], ['Progress', ticket.progress !== null && percent(ticket.progress)]]));
}

function attempts(entries) {
  const all = new Map();
  for (const { attempt, worker_id, to_status: status, at, detail, cause } of entries.filter((entry) => entry.attempt && entry.to_status)) {
    const one = all.get(attempt) ?? { number: attempt };
    all.set(attempt, one);
    one.worker = worker_id ?? one.worker;
    if (status === 'ASSIGNED') one.assigned = at;
    else if (status !== 'RUNNING' && !one.ended) Object.assign(one, { ended: at, status, why: detail.reason?.message ?? (status !== 'COMPLETED' && cause) });
  }
  return [...all.values()].reverse();
}

function tried({ ticket, entries }) {
  const list = attempts(entries);
  if (ticket.control && !list.length) return null;
  return panel(`Attempts: ${list.length} of ${ticket.sla.max_retries + 1}`, table([['Worker', (one) => workerLink(one.worker)],
    ['Result', (one) => [one.status === 'PENDING' ? badge('failed', 'tried again') : badge(one.status ?? ticket.status), one.why && h('div.small.text', one.why)]],
    ['Assigned', (one) => since(one.assigned), 'wide'], ['Took', (one) => span((one.ended ? Date.parse(one.ended) : now()) - Date.parse(one.assigned)), 'nowrap']], list, (one) => ({ key: one.number }), 'Attempts'),
  ['ASSIGNED', 'RUNNING'].includes(ticket.status) && soft(`The token of attempt ${ticket.attempt} is for worker ${ticket.worker_id} and for this ticket alone. It ends with the attempt, or `, since(new Date(Date.parse(ticket.assigned_at) + ticket.sla.timeout_ms + GRACE).toISOString()), '.'));
}

function chosen({ ticket, why }) {
  const { candidates, refusals } = why.candidates.length + why.refusals.length ? why : ticket;
  if (ticket.control && !candidates.length && !refusals.length) return null;
  const shares = (one) => h('div.small', SHARES.map(([name, text, weight]) => h('span', parts([{ tone: 'busy', count: one[name], label: text }, { tone: 'none', count: 1 - one[name], label: 'missing' }]), `${text} ${percent(one[name])} × ${weight}`)));
  return panel(ticket.status === 'PENDING' ? 'Which worker would get it' : 'Why this worker',
    candidates.length > 0 && table([['Worker', (one) => [workerLink(one.worker_id), one.worker_id === ticket.worker_id && [' ', badge('running', 'chosen')], soft(`${one.active} of ${one.slots} slots used`)]],
      ['Score', (one) => h('b', one.score.toFixed(2))], ['Its parts', shares]], candidates, (one) => ({ key: one.worker_id }), 'Candidates'),
    refusals.length > 0 && table([['Left out', (one) => workerLink(one.worker_id)], ['Because it', (one) => one.reason, 'text']], refusals, (one) => ({ key: one.worker_id }), 'Left out'),
    !candidates.length && !refusals.length && soft('No worker is known.'));
}

const inputs = ({ ticket }) => panel('Inputs', json(ticket.parameters, { title: 'Parameters', open: true }), ticket.item !== null && json(ticket.item, { title: `Item ${ticket.index ?? ''}`, open: true }));

const output = ({ ticket }) => panel('Output', ticket.error_message && h('p.bad.text', ticket.error_message),
  ticket.output !== null ? json(ticket.output, { open: true }) : !ticket.error_message && soft('None.'));

const near = (list, name) => list.length > 0 && table([[name, (one) => ticketLink(one.ticket_id, one.task_id)], ['Status', (one) => badge(one.status)], ['Worker', (one) => workerLink(one.worker_id), 'wide'],
  ['Output', (one) => one.output !== null && h('code.text', JSON.stringify(one.output).slice(0, 300)), 'wide']], list, (one) => ({ key: one.ticket_id, href: to.ticket(one.ticket_id) }), name);

function family({ ticket, children: page, near: known }) {
  const sum = ticket.children, named = (ids, name) => near(ids.map((id) => known.get(id)).filter(Boolean), ids.length > NEAR ? `${name} (${NEAR} of ${ids.length})` : name);
  return [sum && panel(`Children: ${sum.total}`, soft(`${sum.completed} completed, ${sum.failed} failed, ${sum.skipped} skipped. `, page.cursor && `The first ${CHILDREN} are shown.`), near(page.items, 'Child')),
    h('div.grid', named(ticket.dependencies, 'It waits for'), named(ticket.dependants, 'These wait for it'))];
}

/** A text as one word of a shell: whoever wrote a plan does not write commands. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function view(state, ctx) {
  const { ticket, entries, flow, log, why } = state, id = ticket.ticket_id;
  return [
    h('p.small', { role: 'navigation', 'aria-label': 'Where this is' }, link('/console/flows', 'Flows'), ' › ', flowLink(flow.flow_id, flow.decision_id), ticket.parent && [' › ', ticketLink(ticket.parent, state.near.get(ticket.parent)?.task_id ?? 'parent')], ` › ${ticket.task_id}`),
    h('div.row', h('h1.text', ticket.task_id), badge(ticket.status), ticket.slack_state && badge(ticket.slack_state), ticket.critical && badge('plain', '◆ critical path'), h('span.grow'), commandButtons('ticket', [ticket], ctx.reload)),
    ticket.description && h('p.text.soft', ticket.description),
    because('Why it is where it is', why, why.slack_state ?? ticket.status), asks(state.approval, ctx), forged(state), timing(state), h('div.grid', tried(state), chosen(state)), h('div.grid', inputs(state), output(state)),
    log && panel(`Log of attempt ${log.attempt}`, h('div.row.small.soft', `The last ${bytes(ticket.log_bytes)}`, copy(log.text)), h('pre', { tabindex: '0', class: 'text' }, log.text)), family(state),
    panel('Facts', facts([['Type', words(ticket.task_type)], ['Priority', `${words(ticket.priority)}, score ${ticket.priority_score.toFixed(2)}`], ['Needs', ticket.required_capabilities.join(', ') || 'any worker'],
      ['Condition', ticket.control?.when && h('code', ticket.control.when)], ['Labels', labels(ticket)],
      ['Undone by', ticket.compensation_ticket_id && ticketLink(ticket.compensation_ticket_id)], ['Undoes', ticket.compensates && ticketLink(ticket.compensates)]]),
    asCommands([`flowc why ${id}`, `flowc logs ${quoted(`${flow.flow_id}/${ticket.task_id}`)}`], path`tickets/${id}`), json(ticket, { title: 'Ticket as JSON' }), json(entries, { title: 'History as JSON' })),
  ];
}

export const page = {
  load, view, every: ({ ticket }) => ticket.status === 'RUNNING' && 3, // progress comes without an event
  live: (change, state) => !state || change.ticket_id === state.ticket.ticket_id || state.near.has(change.ticket_id) || (state.ticket.children && change.flow_id === state.ticket.flow_id),
  title: ({ ticket }) => `${ticket.task_id}: ${words(ticket.status)}`,
};
