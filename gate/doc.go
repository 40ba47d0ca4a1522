// Package gate judges a challenger by what was counted: pure functions of sums, valid at
// any time. The chance that one that is no worse than its margins is ever rolled back
// stays under the rollout's alpha, however often one looks, however the weight moves.
//
// Evidence against the challenger is a wealth that bets on its being worse (an e-process):
// under the hypothesis that it is not, wealth does not grow on average, so it ever exceeds
// 1/α with probability α at most (Ville). Mixture is that wealth. A method says, for one
// kind of gate, what each bet wins on a Cell of counts. Counts are sums, so replicas merge
// by addition. A Checkpoint is what has been absorbed of them; Judge reads it.
package gate
