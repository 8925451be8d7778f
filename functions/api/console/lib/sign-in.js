// How a person gets in, for this tab: by an API key, or at the identity provider (authorization code flow with PKCE).

import { api, key, Problem } from './api.js';
import { h } from './dom.js';
import { button, field } from './ui.js';

const ATTEMPT = 'flowc.sign-in';
const HOME = '/console/';
const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
const random = () => base64(crypto.getRandomValues(new Uint8Array(32)));

/** Send the browser to the provider. Its answer is believed only if it brings the state back. */
async function leave({ authorization_endpoint: endpoint, client_id: client, scope }) {
  const attempt = { state: random(), nonce: random(), verifier: random(), back: location.pathname + location.search };
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(attempt.verifier));
  const url = new URL(endpoint);
  const asked = { response_type: 'code', client_id: client, scope, redirect_uri: location.origin + HOME, state: attempt.state, nonce: attempt.nonce, code_challenge: base64(new Uint8Array(digest)), code_challenge_method: 'S256' };
  for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
  sessionStorage.setItem(ATTEMPT, JSON.stringify(attempt));
  location.assign(url);
}

/** Take the provider's answer from the address, if there is one; it works once. Throws a `Problem` when it is no good. */
export async function returned() {
  const said = new URLSearchParams(location.search);
  if (location.pathname !== HOME || !said.has('state') || !(said.has('code') || said.has('error'))) return;
  const attempt = JSON.parse(sessionStorage.getItem(ATTEMPT) ?? 'null');
  sessionStorage.removeItem(ATTEMPT);
  history.replaceState(null, '', attempt?.back.startsWith(HOME) ? attempt.back : HOME);
  if (attempt?.state !== said.get('state')) throw new Problem(401, { detail: 'This answer of the provider belongs to no sign-in of this tab. Sign in again.' });
  if (said.has('error')) throw new Problem(401, { detail: `The provider did not sign you in: ${said.get('error_description') ?? said.get('error')}` });
  const { access_token: token } = await api.post('session', { code: said.get('code'), code_verifier: attempt.verifier, nonce: attempt.nonce });
  key.set(token);
}

/** Show the sign-in page; `done` is called once there is a key. */
export async function signIn(main, error, done) {
  const had = key.get() !== null;
  key.forget();
  const wrong = h('p.bad', { role: 'alert' }, error.code === 'expired_token' ? 'The sign-in has expired: sign in again.' : had ? `The key was refused: ${error.message}` : error.code === 'missing_key' ? '' : error.message);
  const provider = h('div');
  const use = (event) => {
    event.preventDefault();
    key.set(event.target.elements.key.value.trim());
    done();
  };
  document.title = 'Sign in · Flow C';
  main.replaceChildren(h('form.sign-in.panel', { onsubmit: use }, h('h1', 'Sign in'), wrong, provider,
    field('API key', h('input', { name: 'key', type: 'password', required: true, pattern: '\\s*[!-~]+\\s*', autocomplete: 'off' })),
    h('p.small', 'An administrator makes one: flowc keys create. It is kept until the tab is closed.'), h('button.main', 'Sign in')));
  main.querySelector('[name=key]').focus();
  const { sign_in: offer } = await api.get('session').catch(() => ({}));
  if (!offer) return;
  const { host } = new URL(offer.issuer);
  provider.append(!crypto.subtle ? h('p.warn', `Signing in with ${host} needs HTTPS: open the console at its https address.`)
    : !offer.authorization_endpoint ? h('p.warn', `${host} does not answer now; try again in a minute.`)
      : button(`Sign in with ${host}`, () => leave(offer).catch((problem) => { wrong.textContent = problem.message; }), { class: 'main', autofocus: true }));
  provider.querySelector('button')?.focus();
}
