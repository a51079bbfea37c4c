"""Each network part against a plain version of itself, and what it may see."""

import numpy as np
import pytest
import torch
from torch import nn

from crp_pipeline.models.nets.attention import BandedAttention
from crp_pipeline.models.nets.convolution import CausalConv
from crp_pipeline.models.nets.heads import DirectionHead, SignalHead, ValueHead
from crp_pipeline.models.nets.lstm import BidirectionalLstm
from crp_pipeline.models.nets.scaling import CLIP, Scaling
from crp_pipeline.models.nets.tcn import Tcn
from crp_pipeline.models.nets.transformer import Transformer
from crp_pipeline.models.network_parameters import receptive_field


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def untaught(net):
    """A network whose branches all matter: one that begins at nought would hide what it sees."""
    with torch.no_grad():
        for values in net.parameters():
            values.copy_(torch.randn_like(values) * 0.3)
    return net.eval()


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 4), (5, 2)])
def test_a_causal_convolution_is_torchs_own_on_bars_padded_in_front(kernel, dilation):
    ours = CausalConv(4, 6, kernel=kernel, dilation=dilation)
    torchs = nn.Conv1d(4, 6, kernel, dilation=dilation)
    with torch.no_grad():
        torchs.weight.copy_(ours.mix.weight.view(6, kernel, 4).transpose(1, 2))
        torchs.bias.copy_(ours.mix.bias)
    x = torch.randn(2, 20, 4)
    padded = nn.functional.pad(x.transpose(1, 2), ((kernel - 1) * dilation, 0))
    torch.testing.assert_close(ours(x), torchs(padded).transpose(1, 2))


def test_attention_is_a_weighted_mean_of_the_bars_in_the_band():
    layer, band = untaught(BandedAttention(8, n_heads=2, band=3, dropout=0.0)), 3
    x = torch.randn(1, 10, 8)
    shares = layer.weights(x)
    back = torch.arange(10)[:, None] - torch.arange(10)
    assert (shares[..., (back < 0) | (back >= band)] == 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 2, 10))
    value = layer.project(x)[..., 16:].view(1, 10, 2, 4).transpose(1, 2)
    by_hand = torch.zeros(1, 2, 10, 4)
    for bar in range(10):
        for seen in range(max(bar - band + 1, 0), bar + 1):
            by_hand[:, :, bar] += shares[:, :, bar, seen, None] * value[:, :, seen]
    torch.testing.assert_close(layer(x), layer.merge(by_hand.transpose(1, 2).flatten(2)))


def test_attention_knows_how_far_back_a_bar_is_and_not_where_the_chunk_began():
    layer = untaught(BandedAttention(8, n_heads=2, band=4, dropout=0.0))
    x = torch.randn(1, 12, 8)
    torch.testing.assert_close(layer(x)[:, 7:], layer(x[:, 4:])[:, 3:])
    swapped = x.clone()
    swapped[:, [9, 10]] = x[:, [10, 9]]
    assert (layer(swapped)[:, 11] - layer(x)[:, 11]).abs().max() > 1e-3, "without positions the order would not matter"


def test_both_directions_say_of_the_last_bar_what_whole_layers_would():
    ours = BidirectionalLstm(5, width=6, n_layers=3, dropout=0.0)
    whole = nn.LSTM(5, 6, 3, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for number in range(2):
            for name, values in ours.below[number].named_parameters():
                getattr(whole, name.replace("l0", f"l{number}")).copy_(values)
        for name, values in ours.forwards.named_parameters():
            getattr(whole, name.replace("l0", "l2")).copy_(values)
        for name, values in ours.backwards.named_parameters():
            getattr(whole, name.replace("l0", "l2_reverse")).copy_(values)
    x = torch.randn(3, 9, 5)
    torch.testing.assert_close(ours(x)[:, 0], whole(x)[0][:, -1])


def bars_that_matter(net, n_bars):
    """How far back the last state changes with an input: gradient of the last bar's state by bar."""
    x = torch.randn(1, n_bars, 3, requires_grad=True)
    net(x)[:, -1].sum().backward()
    return np.flatnonzero(x.grad.abs().sum(-1)[0].numpy())


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_a_tcn_sees_exactly_its_receptive_field(levels):
    net = untaught(Tcn(3, width=8, levels=levels, dropout=0.0))
    n_bars = receptive_field(levels) + 10
    assert bars_that_matter(net, n_bars).tolist() == list(range(10, n_bars))


def test_five_levels_see_125_bars():
    assert receptive_field(5) == 125


@pytest.mark.parametrize(("window", "n_layers"), [(10, 2), (9, 4), (7, 1)])
def test_a_transformer_sees_no_more_than_its_window(window, n_layers):
    net = untaught(Transformer(3, width=8, n_layers=n_layers, n_heads=2, window=window, dropout=0.0))
    seen = bars_that_matter(net, 30)
    assert 30 - window <= seen[0] < 30 - window + n_layers
    assert seen.tolist() == list(range(seen[0], 30))


def test_scaling_centres_clips_and_takes_a_missing_value_for_the_centre():
    scaling = Scaling(torch.tensor([1.0, 10.0]), torch.tensor([2.0, 5.0]))
    given = torch.tensor([[3.0, 10.0], [torch.nan, 0.0], [1e9, -torch.inf]])
    torch.testing.assert_close(scaling(given), torch.tensor([[1.0, 0.0], [0.0, -2.0], [CLIP, -CLIP]]))


# heads


def test_a_signal_starts_from_the_class_frequencies():
    head, y = SignalHead(4), torch.tensor([-1.0, 0.0, 0.0, 1.0])
    head.prepare(y, torch.tensor([1.0, 1.0, 1.0, 5.0]), balanced=False)
    answer = head.answer(head(torch.randn(7, 4)))
    torch.testing.assert_close(answer, torch.tensor([[1 / 8, 2 / 8, 5 / 8]]).expand(7, 3), atol=2e-3, rtol=0)


@pytest.mark.parametrize("head", [SignalHead(4), DirectionHead(4)], ids=["signal", "direction"])
def test_class_weights_of_n_minus_over_n_plus_make_every_class_count_the_same_and_are_taken_off_outside(head):
    y = torch.tensor([-1.0] * 1 + [1.0] * 3 + ([0.0] * 4 if isinstance(head, SignalHead) else []))
    head.prepare(y, torch.ones(len(y)), balanced=True)
    logits = head(torch.randn(len(y), 4))
    if isinstance(head, DirectionHead):
        assert head.shift.exp().item() == pytest.approx(1 / 3, rel=1e-2), "N-/N+"
        assert head.answer(logits)[0].tolist() == pytest.approx([1 / 4, 3 / 4], abs=2e-3)
    else:
        assert head.shift.exp().tolist() == pytest.approx([7, 1, 5 / 3], rel=2e-2)
        assert head.answer(logits)[0].tolist() == pytest.approx([1 / 8, 4 / 8, 3 / 8], abs=2e-3)


def test_a_missing_label_and_a_neutral_direction_teach_nothing():
    logits = torch.zeros(4, 3)
    _, known = SignalHead(2).loss(logits, torch.tensor([0.0, torch.nan, 1.0, -1.0]))
    assert known.tolist() == [True, False, True, True]
    _, known = DirectionHead(2).loss(logits[:, :1], torch.tensor([0.0, torch.nan, 1.0, -1.0]))
    assert known.tolist() == [False, False, True, True]
    losses, known = ValueHead(2).loss(logits[:, :1], torch.tensor([0.0, torch.nan, 2.0, -1.0]))
    assert known.tolist() == [True, False, True, True]
    assert losses.isfinite().all()


def test_losses_take_logits_and_answers_are_probabilities():
    logits, y = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([1.0])
    losses, _ = SignalHead(2).loss(logits, y)
    assert losses.item() == pytest.approx(-torch.log_softmax(logits, -1)[0, 2].item())
    losses, _ = DirectionHead(2).loss(logits[:, :1], y)
    assert losses.item() == pytest.approx(-torch.log(torch.sigmoid(torch.tensor(2.0))).item())
    assert DirectionHead(2).answer(logits[:, :1])[0].tolist() == pytest.approx([1 - 0.880797, 0.880797], abs=1e-5)


def test_a_value_is_learned_in_units_of_its_spread_and_answered_in_its_own():
    head, y = ValueHead(2), 0.02 * torch.randn(4_001)
    y[:5] = 1e9  # a few wild labels do not set the scale
    head.prepare(torch.cat([y, torch.tensor([torch.nan])]), torch.ones(4_002), balanced=False)
    assert head.spread.item() == pytest.approx(0.02, rel=0.05)
    assert head.answer(torch.tensor([[2.0]])).item() == pytest.approx(2 * head.spread.item())


@pytest.mark.parametrize(("y", "spread"), [([0.0, 0.0, 0.0, 2.0], 1.0), ([0.0, 0.0], 1e-12), ([torch.nan], 1.0)])
def test_labels_that_are_mostly_nought_or_missing_have_a_spread_too(y, spread):
    head = ValueHead(2)
    head.prepare(torch.tensor(y), torch.ones(len(y)), balanced=False)
    assert head.spread.item() == pytest.approx(spread)
