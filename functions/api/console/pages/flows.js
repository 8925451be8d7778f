// Flows: which there are, how each stands against its SLA, and commands for many at once.

import { pager } from '../lib/act.js';
import { api } from '../lib/api.js';
import { commandButtons, PRIORITIES } from '../lib/commands.js';
import { h, morph } from '../lib/dom.js';
import { counted, now, span } from '../lib/format.js';
import { badge, button, empty, field, flowLink, labels, select, since, slaBar, table, tally, to, words } from '../lib/ui.js';

const LIMIT = 50;
const LOOKS = 5; // pages that are read in search of the first flow that fits
const MOST = 2000; // flows that can be chosen at once
const STATUSES = ['VALIDATING', 'AWAITING_APPROVAL', 'GENERATING', 'EXECUTING', 'PAUSED', 'COMPENSATING', 'PUBLISHING', 'COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED'];
const VIEWS = [['All', {}], ['Open', { status: STATUSES.slice(0, 7).join() }], ['At risk', { at_risk: 'true' }], ['Await approval', { status: 'AWAITING_APPROVAL' }], ['Not done', { status: 'FAILED,TIMED_OUT,CANCELLED,REJECTED' }], ['Completed', { status: 'COMPLETED' }]];
const FILTERS = ['text', 'status', 'at_risk', 'priority', 'plan', 'intent', 'decision', 'label', 'since', 'until'];
const used = (query) => FILTERS.filter((name) => query[name]);
function moment(text) {
  const date = new Date(text);
  return text && !Number.isNaN(date.getTime()) ? date.toISOString() : undefined;
}
/** The query for the flows that the address of the page asks for. */
const wanted = (query, more) => ({ ...Object.fromEntries(used(query).map((name) => [name, query[name]])), status: query.status?.split(','),
  label: query.label?.split(/[\s,]+/), since: moment(query.since), until: moment(query.until), ...more });
const read = ({ query, get }, more) => get('flows', wanted(query, { limit: LIMIT, tally: true, ...more }));

async function load(ctx) {
  const { query, local } = ctx, filters = FILTERS.map((name) => query[name]).join('\n');
  if (local.filters !== filters) Object.assign(local, { filters, chosen: new Map(), shown: null });
  if (local.cursor !== query.cursor) Object.assign(local, { cursor: query.cursor, shown: null });
  // While a person points at rows, has scrolled or chosen some, the same rows stay where they are, and new ones are counted.
  const held = local.shown?.length && !local.take && (local.chosen.size || scrollY > 60 || document.querySelector('tbody:hover, tbody :focus-within')) ? local.shown : null;
  const first = held && !query.cursor ? held[0].received_at : null;
  local.take = false;
  let [{ items, cursor }, top] = await Promise.all([read(ctx, { cursor: query.cursor, ...(first && { until: new Date(Date.parse(first) + 1).toISOString() }) }), first && read(ctx)]);
  for (let looks = 1; !items.length && cursor && !held && looks < LOOKS; looks++) ({ items, cursor } = await read(ctx, { cursor }));
  const known = new Map(items.map((flow) => [flow.flow_id, flow]));
  if (!held) local.older = cursor;
  local.shown = held?.map((flow) => known.get(flow.flow_id) ?? flow) ?? items;
  for (const flow of local.shown) if (local.chosen.has(flow.flow_id)) local.chosen.set(flow.flow_id, flow);
  return { items: local.shown, older: local.older, fresh: top ? top.items.filter((flow) => flow.received_at > first).length : 0 };
}

function took(flow) {
  const text = () => span((flow.ended_at ? Date.parse(flow.ended_at) : now()) - Date.parse(flow.received_at));
  return h('span.nowrap', { 'data-tick': !flow.ended_at, tick: (node) => { node.textContent = text(); } }, text());
}

/** Change the address by what no field was used for; the fields follow. */
function choose(ctx, changes) {
  ctx.local.version = (ctx.local.version ?? 0) + 1;
  return ctx.set({ cursor: '', ...changes });
}
const shows = (query, wanted) => ['status', 'at_risk'].every((one) => (query[one] ?? '') === (wanted[one] ?? ''));

function filters(ctx) {
  const { query, local } = ctx;
  const typed = ({ currentTarget: form }) => {
    clearTimeout(local.typing);
    local.typing = setTimeout(() => {
      const said = new FormData(form);
      ctx.set({ ...Object.fromEntries(FILTERS.map((name) => [name, said.getAll(name).map((text) => text.trim()).filter(Boolean).join()])), cursor: '' });
    }, 300);
  };
  const hint = 'Text in ids, labels and reasons';
  const text = (name, label, more = {}) => field(label, h('input', { name, value: query[name] ?? '', ...more }));
  const time = (name, label) => text(name, label, { type: 'datetime-local', value: /^[-\dT:]{16,19}$/.exec(query[name]) });
  const tick = (name, value, label) => h('label.nowrap.small', h('input', { type: 'checkbox', name, value, checked: query[name]?.split(',').includes(value) }), ` ${label}`);
  return h('form', { key: `filters${local.version}`, class: 'filters', role: 'search', oninput: typed, onsubmit: (event) => event.preventDefault() },
    h('input', { type: 'search', name: 'text', value: query.text ?? '', maxlength: '200', 'data-search': true, 'aria-label': hint, placeholder: hint }),
    h('details', { open: local.more, ontoggle: (event) => { local.more = event.target.open; } }, h('summary', 'Filters'),
      h('fieldset.row', h('legend.small.soft', 'Status'), STATUSES.map((status) => tick('status', status, words(status))), tick('at_risk', 'true', 'SLA at risk')),
      h('div.grid.fields', text('plan', 'Plan, by id or name'), text('intent', 'Intent'), text('decision', 'Decision'), text('label', 'Labels', { placeholder: 'team:red, env:prod' }),
        field('Priority', select([['', 'Any'], ...PRIORITIES], query.priority ?? '', () => {}, { name: 'priority' })), time('since', 'Arrived after'), time('until', 'Arrived before'))));
}

const chips = (ctx, names) => names.length > 0 && h('div.row', names.map((name) => button(`${words(name)}: ${words(ctx.query[name]).replaceAll(',', ', ')} ✕`,
  () => choose(ctx, { [name]: '' }), { class: 'small', key: name, 'aria-label': `Remove the filter ${words(name)}` })));

/** Choose flows, or not any more: the bar of commands is drawn alone, and the boxes where it has not been their person. */
function pick(ctx, flows, chosen) {
  for (const flow of flows) if (chosen) ctx.local.chosen.set(flow.flow_id, flow); else ctx.local.chosen.delete(flow.flow_id);
  morph(document.querySelector('#bulk'), bulk(ctx));
  document.querySelectorAll('tbody [name=chosen]').forEach((box) => { box.checked = ctx.local.chosen.has(box.value); });
}

function bulk(ctx) {
  const flows = [...ctx.local.chosen.values()], clear = () => pick(ctx, flows, false);
  return h('div', { id: 'bulk', class: 'bulk row', role: 'region', 'aria-label': 'Commands for the chosen flows', hidden: !flows.length }, flows.length > 0 && [
    h('b', { role: 'status' }, `${counted(flows.length, 'flow')} chosen`),
    commandButtons('flow', flows, () => { clear(); ctx.local.take = true; ctx.reload(); }, true), button('Choose none', clear, { class: 'quiet' })]);
}

function nothing(ctx, names, cursor) {
  if (cursor) return empty('Nothing so far', 'There are older ones.', button('Look further', () => ctx.set({ cursor })));
  if (names.length) return empty('No flow fits', 'Remove a filter to see more.');
  return empty('No flows yet', 'Submit one, and let a worker do its tasks:', h('pre', "flowc sample | flowc submit -\nflowc worker --shell 'echo done'"));
}

function view({ items, older, fresh }, ctx) {
  const { query, local } = ctx, names = used(query);
  const box = (name, label, value, checked, flows) => h('input', { type: 'checkbox', name, value, 'aria-label': label, checked, onchange: ({ target }) => pick(ctx, flows, target.checked) });
  return [
    h('div.row', h('h1.grow', 'Flows'), h('div.row', { role: 'group', 'aria-label': 'Views' }, VIEWS.map(([name, wanted]) =>
      button(name, () => choose(ctx, { status: '', at_risk: '', ...wanted }), { class: 'tab small', 'aria-pressed': String(shows(query, wanted)) })))),
    filters(ctx), chips(ctx, names),
    items.length ? [
      h('div.row.tools', h('span.soft.small', `${counted(items.length, 'flow')} here, the newest first`),
        fresh > 0 && button(`${fresh} new – show`, () => { local.take = true; scrollTo(0, 0); ctx.reload(); }, { class: 'small', 'aria-live': 'polite' }),
        button('Choose all that fit', async () => pick(ctx, (await api.all('flows', wanted(query), { most: MOST, signal: ctx.signal })).slice(0, MOST), true), { class: 'quiet small' })),
      table([
        [box('all', 'Choose all on this page', '', false, items), (flow) => box('chosen', `Choose ${flow.decision_id}`, flow.flow_id, local.chosen.has(flow.flow_id), [flow]), 'tick'],
        ['Flow', (flow) => [flowLink(flow.flow_id, flow.decision_id), h('div.thin', badge(flow.status)), h('div.small.soft', flow.plan_id ?? '', labels(flow))]],
        ['Status', (flow) => badge(flow.status), 'wide'],
        ['SLA', slaBar], ['Progress', (flow) => tally(flow.tally, flow.tickets_generated), 'wide'],
        ['Priority', (flow) => [words(flow.priority), h('div.small.soft.nowrap', `${flow.risk_band} risk`)], 'wide'],
        ['Started', (flow) => since(flow.received_at), 'nowrap wide'], ['Took', took, 'wide'],
      ], items, (flow) => ({ key: flow.flow_id, href: to.flow(flow.flow_id) }), 'Flows'),
    ] : nothing(ctx, names, older),
    items.length > 0 && pager(ctx, older),
    bulk(ctx),
  ];
}

export const page = {
  load, view,
  live: (change, state, { local }) => !change.ticket_id || !local.shown || local.shown.some((flow) => flow.flow_id === change.flow_id),
  title: (state, { query }) => {
    const [name] = VIEWS.find(([, wanted]) => shows(query, wanted)) ?? [words(query.status).replaceAll(',', ', ')];
    return name === 'All' ? 'Flows' : `Flows: ${name.toLowerCase()}`;
  },
};
