// What if: a policy is tried on the flows of the last days, before it is on.

import { asking, number } from '../lib/act.js';
import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { field, select } from '../lib/ui.js';
import { inShort, oneByOne } from '../lib/what-if.js';

const EXAMPLE = { action: 'HOLD', flows: { service: 'shop' }, hold_at_most_seconds: 3600 };

function policyOf({ policy: { value }, text }) {
  if (value) return { [value.startsWith('freeze/') ? 'freeze_policy_id' : 'policy_name']: value.slice(value.indexOf('/') + 1) };
  const written = JSON.parse(text.value);
  return { [written?.scope ? 'freeze_policy' : 'policy']: written };
}

const sent = (elements) => api.post('slos/what-if', { ...policyOf(elements), days: elements.days.valueAsNumber });

export const page = {
  async load({ get, signal }) {
    const [{ items }, freezing] = await Promise.all([get('admission-policies'), api.all('policies', {}, { signal })]);
    return [...items.map(({ name }) => [`admission/${name}`, `${name} (admission)`]), ...freezing.map(({ policy_id: id, name }) => [`freeze/${id}`, `${name} (freeze)`])];
  },
  view: (known, ctx) => {
    const chosen = known.find(([id]) => id === ctx.query.policy)?.[0] ?? '';
    return [
      h('h1', 'What if'),
      h('p.soft', 'What a policy would have held, lowered, sent to a person or refused in the last days, and what that saves of each error budget. What is saved is an upper bound: as if each of these flows had been good in the end.'),
      asking(ctx, 'Try it', sent, h('div.row', field('Policy', select([['', 'one that is not stored'], ...known], chosen, (policy) => ctx.set({ policy }), { name: 'policy' })), number('Days, up to now', 'days', 7, 1, 90)),
        !chosen && field('An admission policy as JSON, or a freeze policy, which has a scope', h('textarea', { name: 'text', rows: '8', spellcheck: 'false' }, JSON.stringify(EXAMPLE, null, 2)))),
      ctx.local.found && h('section.grid-1', { 'aria-live': 'polite' }, inShort(ctx.local.found), oneByOne(ctx.local.found)),
    ];
  },
};
