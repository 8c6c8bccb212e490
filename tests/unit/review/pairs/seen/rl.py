# === base
import torch


def compute_gae(rewards, values, dones, next_value, next_done, gamma=0.99, lam=0.95):
    advantages = torch.zeros_like(rewards)
    last = 0
    for t in reversed(range(len(rewards))):
        if t == len(rewards) - 1:
            nonterminal = 1.0 - next_done
            following = next_value
        else:
            nonterminal = 1.0 - dones[t + 1]
            following = values[t + 1]
        delta = rewards[t] + gamma * following * nonterminal - values[t]
        advantages[t] = last = delta + gamma * lam * nonterminal * last
    returns = advantages + values
    return advantages, returns
# === copy: renamed, walrus, while
import torch


def advantages_and_returns(r, v, d, v_next, d_next, discount=0.99, smoothing=0.95):
    adv = torch.zeros_like(r)
    running = 0
    t = (length := len(r)) - 1
    while t >= 0:
        if t == length - 1:
            alive = 1.0 - d_next
            ahead = v_next
        else:
            alive = 1.0 - d[t + 1]
            ahead = v[t + 1]
        delta = r[t] + discount * ahead * alive - v[t]
        adv[t] = running = delta + discount * smoothing * alive * running
        t -= 1
    return adv, adv + v
# === copy: with added, method
import torch


class Rollout:
    def finish(self, next_value, next_done):
        with torch.no_grad():
            advantages = torch.zeros_like(self.rewards)
            last = 0
            for t in reversed(range(self.num_steps)):
                if t == self.num_steps - 1:
                    nonterminal = 1.0 - next_done
                    following = next_value
                else:
                    nonterminal = 1.0 - self.dones[t + 1]
                    following = self.values[t + 1]
                delta = self.rewards[t] + self.gamma * following * nonterminal - self.values[t]
                advantages[t] = last = delta + self.gamma * self.lam * nonterminal * last
            self.returns = advantages + self.values
            self.advantages = advantages
# === other: discounted returns
import numpy as np


def discount(rewards, gamma=0.99, normalise=True):
    returns = np.zeros(len(rewards), dtype=np.float32)
    running = 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + gamma * running
        returns[t] = running
    if normalise:
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
    return returns
# === other: backward pass of an HMM
import torch


def backward_messages(log_obs, log_trans, lengths):
    steps, states = log_obs.shape
    messages = torch.zeros_like(log_obs)
    for t in reversed(range(steps - 1)):
        scores = log_trans + log_obs[t + 1] + messages[t + 1]
        messages[t] = torch.logsumexp(scores, dim=-1)
        if t == lengths - 1:
            messages[t] = 0
    return messages
