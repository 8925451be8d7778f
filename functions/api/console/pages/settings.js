// Settings and health: how the platform is, and what it sends to whom.

import { h } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { badge, empty, facts, panel, since, table, words } from '../lib/ui.js';

function health({ health: { version, consumer }, ready, buffer, sink }) {
  return h('div.grid',
    panel('Health', facts([['Version', version], ['Store', ready.ready ? badge('ok', 'ready') : badge('problem', 'not ready')], ['Why not', ready.why],
      ['Events of flows', [badge(consumer.status === 'stopped' ? 'problem' : 'ok', words(consumer.status)), consumer.status === 'elsewhere' && ' in other processes']],
      ['Waiting in the queue', count(ready.queue ?? consumer.lag)], ['Last event', since(consumer.last_event_at)], ['Last decision', since(consumer.last_decision_at)]])),
    panel('Telemetry', facts([['Sink', badge(sink.status)], ['Waits for it', count(buffer.size)], ['Oldest', buffer.oldest_at && since(buffer.oldest_at)]]), [...sink.findings, ...sink.remedy].map((line) => h('p.small.text', line))));
}

const subscriptions = (items) => (items.length ? table([
  ['To', (one) => one.sink, 'say text'],
  ['State', (one) => [badge(one.status === 'ACTIVE' ? 'ok' : 'problem', words(one.status)), one.reason && h('div.small.text', one.reason)]],
  ['Types', (one) => one.types.map((type) => h('div.small', type)), 'wide'],
], items, (one) => ({ key: one.id }), 'Subscriptions')
  : empty('No subscription', 'A subscription sends events to a webhook, signed and again until they are taken:', h('pre', 'flowc subscriptions create URL --type flow.completed')));

export const page = {
  live: true, every: 15,
  async load(ctx) {
    const { get } = ctx;
    const [health, ready, buffer, sink, list] = await Promise.all([get('/health'), get('/ready').catch((error) => ({ ready: false, why: error.message })), get('telemetry/buffer'), get('diagnose/telemetry'),
      get('subscriptions')]);
    return { health, ready, buffer, sink, list };
  },
  title: ({ ready }) => `Health: ${ready.ready ? 'ready' : 'not ready'}`,
  view: (state) => [h('h1', 'Settings and health'), health(state), h('h2', 'Subscriptions'), subscriptions(state.list.items), h('p.small.soft', 'Settings come from the environment (FLOWC_…) when the platform starts. The command line shows more: flowc doctor, flowc schedule, flowc keys, flowc limits.')],
};
