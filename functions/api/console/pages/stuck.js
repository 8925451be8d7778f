// What is stuck in all flows: first the same waits together with what helps, then one by one, the least slack first.

import { again } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { count, counted, span } from '../lib/format.js';
import { badge, button, copy, empty, flowLink, link, since, table, ticketLink, words } from '../lib/ui.js';

const LIMIT = 200;
const EVERY = 5; // seconds: waits begin and end with time, too

const slack = ({ slack_ms: ms }) => h('b', { class: ms < 0 ? 'bad nowrap' : 'nowrap' }, ms < 0 ? `${span(-ms)} over` : span(ms));
const addressOf = (one) => (one.ticket_id ? path`/console/tickets/${one.ticket_id}` : path`/console/flows/${one.flow_id}`);

/** What helps a group, by what it waits for: a command, or the page where it is done. */
function help({ waits_for: what, examples: [first] }) {
  const able = [...what.matchAll(/'([\w.:@/-]+)'/g)].map(([, name]) => ` -c ${name}`).join('');
  const on = /^worker (\S+) to/.exec(what)?.[1];
  if (/^a (free slot|worker)/.test(what)) return ['Start a worker:', `flowc worker${able} --shell 'echo done'`];
  if (on) return ['Look at the worker, or take the ticket from it:', link(path`/console/workers/${on}`, on), `flowc reassign ${first}`];
  if (/resume|paused/.test(what)) return ['Let them go on:', link('/console/flows?status=PAUSED', 'paused flows')];
  if (/approve|decide/.test(what)) return ['Decide:', link('/console/inbox', 'Inbox')];
  if (/next attempt/.test(what)) return ['Try it now:', `flowc retry ${first}`];
  if (/event/.test(what)) return ['See what it waits for, and send it:', 'flowc events-in', 'flowc signal --help'];
  return ['Learn more:', `flowc why ${first}`];
}

function group(one) {
  const [text, ...ways] = help(one);
  return h('section', { class: 'panel', key: `${one.kind} ${one.waits_for}` }, h('h2', { class: 'text' }, one.text),
    h('p', { class: 'small soft' }, 'The least slack: ', slack(one), '. The first waits since ', since(one.since), one.count > 1 && `; in ${counted(one.flows, 'flow')}`, '.'),
    h('div', { class: 'row small' }, text, ways.map((way) => (typeof way === 'string' ? [h('code', { class: 'text' }, way), copy(way)] : way))));
}

export const page = {
  load(ctx) {
    again(ctx, EVERY);
    return api.get('/api/v1/stuck', { limit: LIMIT }, ctx.signal);
  },
  title: ({ waiting }) => (waiting ? `Stuck: ${waiting}` : 'Nothing is stuck'),
  view({ items, groups, waiting, tickets, flows, complete }, ctx) {
    const { late } = ctx.query, shown = items.filter((one) => !late || one.slack_state !== 'on_track');
    const tab = (name, value) => button(name, () => ctx.set({ late: value }), { class: 'tab small', 'aria-pressed': String((late ?? '') === value) });
    return [
      h('h1', {}, 'What is stuck'),
      items.length ? [
        h('div', { class: 'grid' }, groups.map(group)),
        h('div', { class: 'row' }, h('h2', { class: 'grow' }, 'One by one'), tab('All', ''), tab('At risk or late', 'yes')),
        table([
          { name: 'Slack', cell: (one) => [slack(one), h('div', {}, badge(one.slack_state))] },
          { name: 'What', cell: (one) => (one.ticket_id ? [ticketLink(one.ticket_id, one.task_id), h('div', { class: 'small soft' }, 'of ', flowLink(one.flow_id, one.plan_id ?? 'a flow'))] : ['flow ', flowLink(one.flow_id, one.plan_id ?? one.flow_id.slice(0, 8))]) },
          { name: 'Waits for', cell: (one) => [h('span', { class: 'text' }, one.waits_for), h('div', { class: 'small soft' }, words(one.status))] },
          { name: 'Since', cell: (one) => since(one.since), class: 'nowrap', narrow: false },
          { name: 'Next wake-up', cell: (one) => since(one.next_wakeup_at), class: 'nowrap', narrow: false },
        ], shown, (one) => ({ key: one.ticket_id ?? one.flow_id, href: addressOf(one) }), 'What is stuck, the least slack first'),
        waiting > items.length && h('p', { class: 'small' }, `These are the ${count(items.length)} with the least slack; ${count(waiting - items.length)} more wait.`),
      ] : empty('Nothing is stuck', 'What waits for a worker, a person or an event is shown here with its reason, the least slack first. For one flow:', h('pre', {}, 'flowc why FLOW')),
      h('p', { class: 'small soft' }, `${counted(tickets, 'open ticket')} and ${counted(flows, 'waiting flow')} were looked at: ${complete ? 'all that there are' : 'there are more'}.`),
    ];
  },
};
